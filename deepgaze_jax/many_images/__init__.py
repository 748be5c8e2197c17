"""Prediction of any number of pictures: what to predict, where to, and going on."""

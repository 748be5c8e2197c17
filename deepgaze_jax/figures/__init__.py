"""Figures for papers from tables of scores; each loads matplotlib when it is drawn."""

"""The HTTP service: predictions, a page that shows them, limits that hold under load.

`app.create_app` makes an ASGI application of loaded models, `serving.serve` listens.
The libraries that it needs are in the extra `serve`.
"""

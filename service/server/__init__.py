"""The public port: live page, ingest and subscriptions over HTTP and WebSocket.

Says who may connect (origins, tokens), how much (limits), and cuts who takes nothing.  What is
said over a connection is the business of the routes that the composition root puts in.
"""

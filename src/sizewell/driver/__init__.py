"""Sends requests to a live endpoint and writes down what came back, and when each token came."""

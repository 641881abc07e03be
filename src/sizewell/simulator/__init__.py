"""Plays requests through a deployment step by step: scheduler, blocks, prefix cache, routers, pools."""

"""Fits what hardware and engine really reach, from runs; knows what it cannot know."""

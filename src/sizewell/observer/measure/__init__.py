"""Measure the machine this runs on: kernels, launches, copies, collectives and whole layers."""

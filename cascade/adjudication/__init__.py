"""Adjudication of images on which the ensemble disagrees, by a language model.

The ensemble's outputs stay outside the prompt, as data that the model queries and can pass in part
to a recursive call of itself, as in Recursive Language Models [0]. A small set of typed operations
replaces their free-form code, because a few kB of boxes need no program: looking at crops decides
an image, and a planner that only reads text has to ask a vision model.

- [0] Zhang, Kraska, Khattab, Recursive Language Models, arXiv 2512.24601, 2025
"""

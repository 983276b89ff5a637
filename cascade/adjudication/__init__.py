"""What is done where the ensemble disagrees: a language model asks for what it needs, and rules.

The ensemble's outputs stay outside the prompt, as data that the model queries and that it may
hand in part to a further copy of itself, as in Recursive Language Models [0]. Ours has a small
set of typed operations in place of their free code, for a few kB of boxes are no long prompt:
what decides an image is looking at crops, and a root model that reads text has to ask an eye.

- [0] Zhang, Kraska, Khattab, Recursive Language Models, arXiv 2512.24601, 2025
"""

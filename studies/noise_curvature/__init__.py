"""The source paper's figures and claims, measured with clbench, and which indicator predicts loss of trainability.

Source: Baveja, Lewandowski and Schmidt, "A Unified Noise-Curvature View of Loss of Trainability", arXiv 2509.19698.
"""

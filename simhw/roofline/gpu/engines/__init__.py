"""Convolutions by the engines of cuDNN 9: tensor cores behind conversions of the layout, multiply-add units,
transforms, and kernels for depthwise layers.
"""

"""Single-shot detection around the network: default boxes, the loss, what becomes of overlapping detections, and
average precision.
"""

"""Errors of a device's constants as they are shipped, on files of measurements, without any fit."""

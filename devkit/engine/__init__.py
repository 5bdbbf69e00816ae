"""Engines at home: trained members as ONNX files or AOTInductor packages (`make engine`)."""

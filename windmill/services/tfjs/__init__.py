"""TensorFlow.js graph models as ONNX, with numpy and onnx alone.

The kept converter (tf2onnx) needs TensorFlow itself to read them; three small detectors and two
networks for poses need some fifty operators.
"""

from windmill.services.tfjs.convert import convert

__all__ = ["convert"]

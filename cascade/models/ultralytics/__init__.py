"""Ultralytics models: YOLO, YOLOE and YOLO-World."""

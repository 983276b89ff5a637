"""File-based labeling backend: COCO, YOLO, VOC and Datumaro."""

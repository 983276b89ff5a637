"""File formats (COCO, YOLO, VOC, Datumaro), and the labeling backend that exports them."""

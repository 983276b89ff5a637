"""Box and mask arithmetic, object sizes in meters and focal lengths."""

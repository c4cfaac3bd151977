"""Names → uint8 images in memory."""

"""`make predict`: runs over images at home, on one device, on several, or on many machines."""

"""What the site is built with, beside Sphinx: pages that are written from the code, and pictures that are drawn by it."""

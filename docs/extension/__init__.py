"""What the site is built with, beside Sphinx: pages that are written from the code, pictures that are drawn by it."""

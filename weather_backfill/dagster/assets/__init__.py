"""Assets: one module each, over plainly named functions of the floors below."""

"""Pages of the App's panels, one module per panel."""

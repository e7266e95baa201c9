"""Where a flow goes, hop by hop."""

"""Where frames come from: files, pipes and URLs; and live, from the kernel."""

"""What simhw finds where it is installed: libraries, processor, kernel cache, traces and plug-ins."""

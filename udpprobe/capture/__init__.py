"""Sources of frames: pcap and pcapng files, compressed or not, pipes, URLs, several as one; and live captures."""

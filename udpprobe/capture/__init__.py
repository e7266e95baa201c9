"""Where recorded frames come from: pcap and pcapng files, compressed or not, pipes, URLs, several as one."""

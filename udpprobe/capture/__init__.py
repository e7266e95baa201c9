"""Where recorded frames come from: pcap and pcapng files, compressed or not, pipes, URLs, and several captures as one."""

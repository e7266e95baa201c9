/* What udpprobe's icmpd tells: one `struct icmpd_err` for each ICMP error that one of your datagrams drew.
 *
 * Connect a SOCK_STREAM Unix socket to the daemon, send one byte ('1') with your UDP socket as SCM_RIGHTS, read one
 * byte: '1' says that the socket is registered (it has a port now, if it had none), '0' that it is not. From then on,
 * read(fd, &err, sizeof(err)) gives one whole record. The protocol is that of UNIX Network Programming, volume 1, third
 * edition, section 28.7; the layout is that of x86-64 and every other machine where int is 32 bits.
 *
 * Public domain.
 */
#ifndef ICMPD_H
#define ICMPD_H

#include <sys/socket.h>

#define ICMPD_PATH "/run/udpprobe/icmpd.sock"

struct icmpd_err {
    int icmpd_errno;                    /* ECONNREFUSED, EMSGSIZE or EHOSTUNREACH */
    char icmpd_type;                    /* of ICMP or ICMPv6: icmpd_dest's family tells which */
    char icmpd_code;
    socklen_t icmpd_len;                /* of icmpd_dest: 16 or 28 */
    struct sockaddr_storage icmpd_dest; /* where the datagram went */
};

_Static_assert(sizeof(struct icmpd_err) == 144, "the daemon's records have 144 bytes");

#endif

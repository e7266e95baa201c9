/* Sends a datagram to each HOST PORT pair, from one unconnected socket, and prints what icmpd says of them.
 *
 *     cc -o who_is_gone who_is_gone.c && ./who_is_gone /run/udpprobe/icmpd.sock 192.0.2.1 9 192.0.2.2 53
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "icmpd.h"

/* Hand a UDP socket over to the daemon; the connection to read errors from, or -1. */
static int icmpd_register(const char *path, int udp)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = '1';
    struct iovec piece = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    struct cmsghdr *first = CMSG_FIRSTHDR(&message);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    first->cmsg_level = SOL_SOCKET;
    first->cmsg_type = SCM_RIGHTS;
    first->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(first), &udp, sizeof(int));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
        sendmsg(fd, &message, MSG_NOSIGNAL) == 1 && read(fd, &byte, 1) == 1 && byte == '1')
        return fd;
    close(fd);
    return -1;
}

static void print(const struct icmpd_err *err)
{
    char host[NI_MAXHOST], port[NI_MAXSERV];

    getnameinfo((const struct sockaddr *)&err->icmpd_dest, err->icmpd_len, host, sizeof(host), port, sizeof(port),
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf("%s port %s: %s\n", host, port, strerror(err->icmpd_errno));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct addrinfo wanted = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *found;
    struct icmpd_err err;
    int udp = socket(AF_INET, SOCK_DGRAM, 0), icmpd;

    if (argc < 4 || (icmpd = icmpd_register(argv[1], udp)) < 0) {
        fprintf(stderr, "usage: who_is_gone ICMPD-SOCKET HOST PORT ... (is icmpd there?)\n");
        return 1;
    }
    for (int i = 2; i + 1 < argc; i += 2)
        if (getaddrinfo(argv[i], argv[i + 1], &wanted, &found) == 0) {
            sendto(udp, "?", 1, 0, found->ai_addr, found->ai_addrlen);
            freeaddrinfo(found);
        }
    while (read(icmpd, &err, sizeof(err)) == sizeof(err))
        print(&err);
    return 0;
}

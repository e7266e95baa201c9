/* A client in the manner of UNP 28.7, written anew from a description of its protocol and of what it prints: reads
 * lines, sends each to HOST PORT from an unconnected socket, waits up to five seconds for an answer or for icmpd.
 * It believes its daemon as little as the book's does: any record that is not whole ends it. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct icmpd_err {
    int icmpd_errno;
    char icmpd_type, icmpd_code;
    socklen_t icmpd_len;
    struct sockaddr_storage icmpd_dest;
};

static void quit(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

static int register_with(const char *path, int udp)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char data = '1', control[24] = {0};
    struct iovec piece = {&data, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 24};
    struct cmsghdr *header = (struct cmsghdr *)control;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    header->cmsg_len = 20;
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(header), &udp, sizeof(int));
    strcpy(address.sun_path, path);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        quit("connect error");
    if (sendmsg(fd, &message, 0) != 1)
        quit("sendmsg error");
    if (read(fd, &data, 1) != 1 || data != '1')
        quit("error creating icmp socket");
    return fd;
}

static void show(int icmpd)
{
    struct icmpd_err err;
    char host[64], port[16];
    ssize_t n = read(icmpd, &err, sizeof(err));

    if (n == 0)
        quit("ICMP daemon terminated");
    if (n != sizeof(err))
        quit("a piece of a record");
    if (getnameinfo((struct sockaddr *)&err.icmpd_dest, err.icmpd_len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        quit("no address");
    printf(strchr(host, ':') ? "ICMP error: dest = [%s]:%s, " : "ICMP error: dest = %s:%s, ", host, port);
    printf("%s, type = %d, code = %d\n", strerror(err.icmpd_errno), err.icmpd_type, err.icmpd_code);
}

static void await(int udp, int icmpd)
{
    struct timeval patience = {.tv_sec = 5};
    char answer[2048];
    fd_set readable;

    FD_ZERO(&readable);
    FD_SET(udp, &readable);
    FD_SET(icmpd, &readable);
    if (select((udp > icmpd ? udp : icmpd) + 1, &readable, NULL, NULL, &patience) == 0)
        fprintf(stderr, "socket timeout\n");
    if (FD_ISSET(udp, &readable) && recv(udp, answer, sizeof(answer), 0) >= 0)
        printf("answered\n");
    if (FD_ISSET(icmpd, &readable))
        show(icmpd);
}

int main(int argc, char **argv)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM}, *to;
    struct sockaddr_storage any = {0};
    char line[2048];
    int udp, icmpd;

    if (argc != 4 || getaddrinfo(argv[2], argv[3], &wanted, &to))
        quit("usage: book_client SOCKET HOST PORT");
    udp = socket(to->ai_family, SOCK_DGRAM, 0);
    any.ss_family = to->ai_family;
    if (bind(udp, (struct sockaddr *)&any, to->ai_addrlen) < 0)
        quit("bind error");
    icmpd = register_with(argv[1], udp);
    while (fgets(line, sizeof(line), stdin)) {
        sendto(udp, line, strlen(line), 0, to->ai_addr, to->ai_addrlen);
        await(udp, icmpd);
    }
    return 0;
}

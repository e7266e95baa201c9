/* Load for a daemon of UNP 28.7: clients that each send datagrams to a port that refuses them, and count the records
 * that the daemon tells them. The kernel makes the errors, on this core; so the daemon has the other one.
 *
 * icmpd_load SOCKET CLIENTS ERRORS WINDOW   prints: errors told, nanoseconds from the first send to the last record
 * icmpd_load SOCKET                         prints: median and 99th percentile of 20,000 errors one at a time, ns */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 144, BATCH = 64, ALONE = 20000, QUIET_MS = 1500 };

static long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static int registered(const char *path, int *udp)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char byte = '1', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control,
                             .msg_controllen = sizeof(control)};
    int client = socket(AF_UNIX, SOCK_STREAM, 0);

    *udp = socket(AF_INET, SOCK_DGRAM, 0);
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    *rights = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(rights), udp, sizeof(int));
    if (*udp < 0 || connect(client, (struct sockaddr *)&address, sizeof(address)) || sendmsg(client, &message, 0) != 1
        || recv(client, &byte, 1, 0) != 1 || byte != '1') {
        fprintf(stderr, "the daemon does not take a socket\n");
        exit(1);
    }
    return client;
}

static int by_size(const void *one, const void *other)
{
    long a = *(const long *)one, b = *(const long *)other;
    return (a > b) - (a < b);
}

static int alone(const char *path, struct sockaddr_in *nobody)
{
    static long spans[ALONE];
    char record[RECORD];
    int udp, client = registered(path, &udp);

    for (int each = 0; each < ALONE; each++) {
        long start = now_ns();
        nobody->sin_port = htons(1 + each % 9);     /* no daemon knows the next error already */
        sendto(udp, "x", 1, 0, (struct sockaddr *)nobody, sizeof(*nobody));
        if (recv(client, record, RECORD, 0) != RECORD)
            return 1;
        spans[each] = now_ns() - start;
        usleep(20);
    }
    qsort(spans, ALONE, sizeof(long), by_size);
    printf("%ld %ld\n", spans[ALONE / 2], spans[ALONE / 100 * 99]);
    return 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_port = htons(9)};
    inet_pton(AF_INET, "127.0.0.1", &nobody.sin_addr);
    if (argc == 2)
        return alone(argv[1], &nobody);
    if (argc != 5)
        return 2;
    int clients = atoi(argv[2]), waiting = epoll_create1(0), turn = 0;
    long errors = atol(argv[3]), window = atol(argv[4]), sent = 0, got = 0, last;
    int *udp = calloc(clients, sizeof(int));
    char *records = malloc(1 << 20);
    struct sockaddr_in to[BATCH];
    struct iovec piece = {"x", 1};
    struct mmsghdr batch[BATCH] = {0};

    for (int each = 0; each < clients; each++) {
        struct epoll_event wanted = {.events = EPOLLIN};
        wanted.data.fd = registered(argv[1], &udp[each]);
        epoll_ctl(waiting, EPOLL_CTL_ADD, wanted.data.fd, &wanted);
    }
    for (int each = 0; each < BATCH; each++) {
        to[each] = nobody;
        batch[each].msg_hdr = (struct msghdr){.msg_name = &to[each], .msg_namelen = sizeof(nobody), .msg_iov = &piece,
                                              .msg_iovlen = 1};
    }
    long start = last = now_ns();
    while (got < errors * RECORD) {
        struct epoll_event ready[256];
        int room = window - (sent - got / RECORD) >= BATCH && sent < errors;
        if (room) {
            long count = errors - sent < BATCH ? errors - sent : BATCH;
            for (int each = 0; each < count; each++)
                to[each].sin_addr.s_addr = htonl(0x7f000000 | (sent + each + 1) % 0xffff00 | 1);
            count = sendmmsg(udp[turn], batch, count, 0);
            sent += count > 0 ? count : 0;
            turn = (turn + 1) % clients;
        }
        int many = epoll_wait(waiting, ready, 256, room ? 0 : QUIET_MS);
        if (many == 0 && !room)
            break;
        for (int each = 0; each < many; each++) {
            long size = recv(ready[each].data.fd, records, 1 << 20, MSG_DONTWAIT);
            got += size > 0 ? size : 0;
            last = now_ns();
        }
    }
    printf("%ld %ld\n", got / RECORD, last - start);
    return 0;
}

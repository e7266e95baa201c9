/* A daemon of the book's kind, for comparison: a raw ICMP socket, clients matched by port alone, one write an error.
 * It believes all it is told; do not use it for anything else. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { MOST = 2048 };
static struct pollfd watched[MOST];
static in_port_t ports[MOST];

static void greet(struct pollfd *client, in_port_t *port)
{
    char byte, control[64];
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = 64};
    struct sockaddr_in name = {0};
    socklen_t size = sizeof(name);
    int udp;

    if (recvmsg(client->fd, &message, 0) <= 0) {
        close(client->fd);
        client->fd = -1;
        return;
    }
    memcpy(&udp, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(udp));
    getsockname(udp, (struct sockaddr *)&name, &size);
    if (name.sin_port == 0) {
        name.sin_family = AF_INET;
        bind(udp, (struct sockaddr *)&name, sizeof(name));
        size = sizeof(name);
        getsockname(udp, (struct sockaddr *)&name, &size);
    }
    *port = name.sin_port;
    close(udp);
    write(client->fd, "1", 1);
}

static void tell(int clients, const unsigned char *packet)
{
    const unsigned char *icmp = packet + (packet[0] & 15) * 4, *quote = icmp + 8, *udp = quote + (quote[0] & 15) * 4;
    char record[144] = {0};
    int number = ECONNREFUSED, length = 16;

    memcpy(record, &number, 4);
    memcpy(record + 4, icmp, 2);
    memcpy(record + 8, &length, 4);
    record[16] = AF_INET;
    memcpy(record + 18, udp + 2, 2);
    memcpy(record + 20, quote + 16, 4);
    for (int each = 2; each < clients; each++)
        if (memcmp(&ports[each], udp, 2) == 0)
            write(watched[each].fd, record, sizeof(record));
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int buffer = 32 << 20, count = 2, raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    unsigned char packet[2048];

    if (argc != 2)
        return 2;
    setsockopt(raw, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
    strcpy(address.sun_path, argv[1]);
    bind(listener, (struct sockaddr *)&address, sizeof(address));
    listen(listener, 1024);
    watched[0] = (struct pollfd){raw, POLLIN, 0};
    watched[1] = (struct pollfd){listener, POLLIN, 0};
    while (poll(watched, count, -1) > 0) {
        int clients = count;
        for (int each = 2; each < clients; each++)
            if (watched[each].revents)
                greet(&watched[each], &ports[each]);
        if (watched[1].revents && count < MOST)
            watched[count++] = (struct pollfd){accept(listener, NULL, NULL), POLLIN, 0};
        if (watched[0].revents && recv(raw, packet, sizeof(packet), 0) >= 56)
            tell(clients, packet);
    }
    return 1;
}

// Sockets of AF_NETLINK: rtnetlink(7), and netdevice(7)'s ioctls. Only what is so
// on every Linux with a loopback link is looked at.
#include "check.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static int route_socket(void) { return SYS(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)); }

struct request {
  struct nlmsghdr h;
  union {
    struct ifinfomsg link;
    struct ifaddrmsg addr;
    struct rtmsg route;
    struct ndmsg neigh;
    char pad[64];
  };
};

static void request(int s, int type, int flags, int size, struct request *r) {
  r->h.nlmsg_len = NLMSG_LENGTH(size);
  r->h.nlmsg_type = type;
  r->h.nlmsg_flags = NLM_F_REQUEST | flags;
  r->h.nlmsg_seq = 4711;
  EQ(r->h.nlmsg_len, SYS(send(s, r, r->h.nlmsg_len, 0)));
}

// answers calls fn for each message until the last, and gives back the error of
// NLMSG_ERROR.
static int answers(int s, void (*fn)(struct nlmsghdr *)) {
  static char b[65536];
  for (;;) {
    int n = SYS(recv(s, b, sizeof(b), 0));
    for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
      EQ(4711, h->nlmsg_seq);
      if (h->nlmsg_type == NLMSG_DONE) return 0;
      if (h->nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr *e = NLMSG_DATA(h);
        EQ(4711, e->msg.nlmsg_seq);
        return -e->error;
      }
      if (fn) fn(h);
      if (!(h->nlmsg_flags & NLM_F_MULTI)) return 0;
    }
  }
}

static void *attr(struct rtattr *a, int n, int type) {
  for (; RTA_OK(a, n); a = RTA_NEXT(a, n))
    if (a->rta_type == type) return RTA_DATA(a);
  return NULL;
}

static void create(void) {
  ERR(EPROTONOSUPPORT, socket(AF_NETLINK, SOCK_RAW, 31));
  ERR(ESOCKTNOSUPPORT, socket(AF_NETLINK, SOCK_STREAM, NETLINK_ROUTE));
  int s = route_socket();
  int p[2];
  ERR(EOPNOTSUPP, listen(s, 1));
  ERR(EOPNOTSUPP, accept(s, NULL, NULL));
  ERR(EOPNOTSUPP, shutdown(s, SHUT_RDWR));
  ERR(EOPNOTSUPP, socketpair(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE, p));
}

static void names(void) {
  int s = route_socket(), t = route_socket();
  struct sockaddr_nl a = {.nl_family = AF_NETLINK}, b;
  socklen_t n = sizeof(b);
  SYS(getsockname(s, (void *)&b, &n));
  CHECK(n == sizeof(b) && b.nl_family == AF_NETLINK && b.nl_pid == 0);
  SYS(bind(s, (void *)&a, sizeof(a)));
  SYS(getsockname(s, (void *)&b, &n));
  EQ(getpid(), b.nl_pid);
  SYS(bind(t, (void *)&a, sizeof(a)));
  SYS(getsockname(t, (void *)&a, &n));
  CHECK(a.nl_pid != 0 && a.nl_pid != b.nl_pid);
  a.nl_pid = 12;
  ERR(EINVAL, bind(s, (void *)&a, sizeof(a)));
  int u = route_socket();
  a.nl_pid = getpid();
  ERR(EADDRINUSE, bind(u, (void *)&a, sizeof(a)));
  ERR(EINVAL, bind(u, (void *)&a, 4));
  a.nl_family = AF_INET;
  ERR(EINVAL, bind(u, (void *)&a, sizeof(a)));
}

static int seen;
static void look_link(struct nlmsghdr *h) {
  EQ(RTM_NEWLINK, h->nlmsg_type);
  struct ifinfomsg *i = NLMSG_DATA(h);
  char *name = attr(IFLA_RTA(i), IFLA_PAYLOAD(h), IFLA_IFNAME);
  CHECK(name != NULL);
  if (strcmp(name, "lo")) return;
  seen++;
  EQ(1, i->ifi_index);
  EQ(ARPHRD_LOOPBACK, i->ifi_type);
  CHECK((i->ifi_flags & (IFF_UP | IFF_LOOPBACK | IFF_RUNNING)) == (IFF_UP | IFF_LOOPBACK | IFF_RUNNING));
  EQ(65536, *(int *)attr(IFLA_RTA(i), IFLA_PAYLOAD(h), IFLA_MTU));
  CHECK(memcmp(attr(IFLA_RTA(i), IFLA_PAYLOAD(h), IFLA_ADDRESS), "\0\0\0\0\0", 6) == 0);
}

static void links(void) {
  int s = route_socket();
  struct request r = {0};
  request(s, RTM_GETLINK, NLM_F_DUMP, sizeof(r.link), &r);
  EQ(0, answers(s, look_link));
  EQ(1, seen);
  memset(&r, 0, sizeof(r));
  r.link.ifi_index = 1;
  request(s, RTM_GETLINK, 0, sizeof(r.link), &r);
  EQ(0, answers(s, look_link));
  EQ(2, seen);
  r.link.ifi_index = 9999;
  request(s, RTM_GETLINK, 0, sizeof(r.link), &r);
  EQ(ENODEV, answers(s, NULL));
}

static int family;
static void look_addr(struct nlmsghdr *h) {
  EQ(RTM_NEWADDR, h->nlmsg_type);
  struct ifaddrmsg *a = NLMSG_DATA(h);
  EQ(family, a->ifa_family);
  if (a->ifa_index != 1) return;
  void *ip = attr(IFA_RTA(a), IFA_PAYLOAD(h), IFA_ADDRESS);
  CHECK(ip != NULL);
  if (family == AF_INET && memcmp(ip, "\177\0\0\1", 4) == 0) {
    EQ(8, a->ifa_prefixlen);
    EQ(RT_SCOPE_HOST, a->ifa_scope);
    CHECK(strcmp(attr(IFA_RTA(a), IFA_PAYLOAD(h), IFA_LABEL), "lo") == 0);
    seen++;
  }
  if (family == AF_INET6 && memcmp(ip, &in6addr_loopback, 16) == 0) {
    EQ(128, a->ifa_prefixlen);
    seen++;
  }
}

static void addresses(void) {
  int s = route_socket();
  for (int i = 0; i < 2; i++) {
    struct request r = {0};
    family = r.addr.ifa_family = i ? AF_INET6 : AF_INET;
    request(s, RTM_GETADDR, NLM_F_DUMP, sizeof(r.addr), &r);
    EQ(0, answers(s, look_addr));
    EQ(i + 1, seen);
  }
}

static void look_route(struct nlmsghdr *h) {
  EQ(RTM_NEWROUTE, h->nlmsg_type);
  struct rtmsg *m = NLMSG_DATA(h);
  void *dst = attr(RTM_RTA(m), RTM_PAYLOAD(h), RTA_DST);
  if (m->rtm_table == RT_TABLE_LOCAL && m->rtm_type == RTN_LOCAL && m->rtm_dst_len == 8) {
    CHECK(memcmp(dst, "\177\0\0\0", 4) == 0);
    EQ(1, *(int *)attr(RTM_RTA(m), RTM_PAYLOAD(h), RTA_OIF));
    seen++;
  }
}

static void routes(void) {
  int s = route_socket();
  struct request r = {0};
  r.route.rtm_family = AF_INET;
  request(s, RTM_GETROUTE, NLM_F_DUMP, sizeof(r.route), &r);
  EQ(0, answers(s, look_route));
  EQ(1, seen);
}

static void look_lookup(struct nlmsghdr *h) {
  EQ(RTM_NEWROUTE, h->nlmsg_type);
  struct rtmsg *m = NLMSG_DATA(h);
  EQ(RTN_LOCAL, m->rtm_type);
  EQ(32, m->rtm_dst_len);
  CHECK(memcmp(attr(RTM_RTA(m), RTM_PAYLOAD(h), RTA_DST), "\177\1\2\3", 4) == 0);
  EQ(1, *(int *)attr(RTM_RTA(m), RTM_PAYLOAD(h), RTA_OIF));
  seen++;
}

static void route_lookup(void) {
  int s = route_socket();
  struct request r = {0};
  r.route.rtm_family = AF_INET;
  r.route.rtm_dst_len = 32;
  struct rtattr *a = (void *)((char *)&r.route + sizeof(r.route));
  a->rta_len = 8;
  a->rta_type = RTA_DST;
  memcpy(RTA_DATA(a), "\177\1\2\3", 4);
  request(s, RTM_GETROUTE, 0, sizeof(r.route) + 8, &r);
  EQ(0, answers(s, look_lookup));
  EQ(1, seen);
}

static void empty_dumps(void) {
  int s = route_socket();
  struct request r = {0};
  r.neigh.ndm_family = AF_INET;
  request(s, RTM_GETNEIGH, NLM_F_DUMP, sizeof(r.neigh), &r);
  EQ(0, answers(s, NULL));
  memset(&r, 0, sizeof(r));
  r.route.rtm_family = AF_INET;
  request(s, RTM_GETRULE, NLM_F_DUMP, sizeof(r.route), &r);
  EQ(0, answers(s, NULL));
}

static void acks(void) {
  int s = route_socket();
  struct request r = {0};
  request(s, NLMSG_NOOP, NLM_F_ACK, 0, &r);
  EQ(0, answers(s, NULL));
  memset(&r, 0, sizeof(r));
  request(s, 2000, NLM_F_ACK, 16, &r);
  EQ(EOPNOTSUPP, answers(s, NULL));
}

static void not_allowed(void) {
  if (getuid() == 0) SYS(setresuid(1234, 1234, 1234));
  int s = route_socket();
  struct request r = {0};
  r.link.ifi_index = 1;
  r.link.ifi_change = IFF_UP;
  request(s, RTM_NEWLINK, NLM_F_ACK, sizeof(r.link), &r);
  EQ(EPERM, answers(s, NULL));
  request(s, RTM_DELADDR, NLM_F_ACK, sizeof(r.addr), &r);
  EQ(EPERM, answers(s, NULL));
}

static void garbage(void) {
  int s = route_socket();
  char b[64];
  memset(b, 0xff, sizeof(b));
  ERR(ENODATA, send(s, b, 0, 0));
  for (int n = 1; n < 64; n++) EQ(n, SYS(send(s, b, n, 0)));
  struct request r = {0};
  r.h.nlmsg_type = RTM_GETLINK;
  r.h.nlmsg_flags = NLM_F_REQUEST;
  for (int n = 0; n < 64; n++) {
    r.h.nlmsg_len = n;
    EQ(sizeof(r), SYS(send(s, &r, sizeof(r), 0)));
    while (recv(s, b, sizeof(b), MSG_DONTWAIT) > 0) {
    }
  }
}

static void recv_flags(void) {
  int s = route_socket();
  char b[8192];
  ERR(EAGAIN, recv(s, b, sizeof(b), MSG_DONTWAIT));
  struct pollfd p = {s, POLLIN | POLLOUT, 0};
  SYS(poll(&p, 1, 0));
  EQ(POLLOUT, p.revents);
  struct request r = {0};
  request(s, RTM_GETLINK, NLM_F_DUMP, sizeof(r.link), &r);
  SYS(poll(&p, 1, 0));
  EQ(POLLIN | POLLOUT, p.revents);
  struct sockaddr_nl from;
  struct iovec v = {b, 16};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_name = &from, .msg_namelen = sizeof(from)};
  EQ(16, SYS(recvmsg(s, &m, MSG_PEEK)));
  EQ(MSG_TRUNC, m.msg_flags);
  EQ(0, from.nl_pid);
  EQ(sizeof(from), m.msg_namelen);
  CHECK(SYS(recv(s, b, 16, MSG_PEEK | MSG_TRUNC)) > 64);
  CHECK(SYS(recv(s, b, sizeof(b), 0)) > 64);
}

static void options(void) {
  int s = route_socket(), v = 1;
  socklen_t n = sizeof(v);
  SYS(setsockopt(s, SOL_NETLINK, NETLINK_EXT_ACK, &v, sizeof(v)));
  SYS(setsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &v, sizeof(v)));
  SYS(getsockopt(s, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &v, &n));
  EQ(1, v);
  ERR(ENOPROTOOPT, setsockopt(s, SOL_NETLINK, 99, &v, sizeof(v)));
  ERR(EINVAL, setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, (v = 0, &v), sizeof(v)));
  SYS(setsockopt(s, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, (v = RTNLGRP_LINK, &v), sizeof(v)));
  SYS(getsockopt(s, SOL_SOCKET, SO_PROTOCOL, &v, &n));
  EQ(NETLINK_ROUTE, v);
  SYS(getsockopt(s, SOL_SOCKET, SO_DOMAIN, &v, &n));
  EQ(AF_NETLINK, v);
}

static void if_addrs(void) {
  struct ifaddrs *list;
  SYS(getifaddrs(&list));
  int four = 0, six = 0, link = 0;
  for (struct ifaddrs *i = list; i; i = i->ifa_next) {
    if (strcmp(i->ifa_name, "lo") || !i->ifa_addr) continue;
    CHECK(i->ifa_flags & IFF_LOOPBACK);
    switch (i->ifa_addr->sa_family) {
      case AF_INET:
        four += ((struct sockaddr_in *)i->ifa_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK);
        EQ(htonl(0xff000000), ((struct sockaddr_in *)i->ifa_netmask)->sin_addr.s_addr);
        break;
      case AF_INET6: six += memcmp(&((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, &in6addr_loopback, 16) == 0; break;
      case AF_PACKET: link++; break;
    }
  }
  EQ(1, four);
  EQ(1, six);
  EQ(1, link);
  EQ(1, if_nametoindex("lo"));
  char name[IF_NAMESIZE];
  CHECK(strcmp(if_indextoname(1, name), "lo") == 0);
  EQ(0, if_nametoindex("nosuch"));
}

static void ioctls(void) {
  static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
  for (size_t i = 0; i < LEN(families); i++) {
    int s = SYS(socket(families[i], SOCK_DGRAM, 0));
    struct ifreq r = {.ifr_name = "lo"};
    SYS(ioctl(s, SIOCGIFINDEX, &r));
    EQ(1, r.ifr_ifindex);
    SYS(ioctl(s, SIOCGIFFLAGS, &r));
    CHECK((r.ifr_flags & (IFF_UP | IFF_LOOPBACK)) == (IFF_UP | IFF_LOOPBACK));
    SYS(ioctl(s, SIOCGIFMTU, &r));
    EQ(65536, r.ifr_mtu);
    SYS(ioctl(s, SIOCGIFHWADDR, &r));
    EQ(ARPHRD_LOOPBACK, r.ifr_hwaddr.sa_family);
    r.ifr_ifindex = 1;
    SYS(ioctl(s, SIOCGIFNAME, &r));
    CHECK(strcmp(r.ifr_name, "lo") == 0);
    strcpy(r.ifr_name, "nosuch");
    ERR(ENODEV, ioctl(s, SIOCGIFINDEX, &r));
    ERR(EFAULT, ioctl(s, SIOCGIFINDEX, (void *)8));
  }
  int s = SYS(socket(AF_INET, SOCK_DGRAM, 0));
  struct ifreq r = {.ifr_name = "lo"};
  SYS(ioctl(s, SIOCGIFADDR, &r));
  EQ(htonl(INADDR_LOOPBACK), ((struct sockaddr_in *)&r.ifr_addr)->sin_addr.s_addr);
  SYS(ioctl(s, SIOCGIFNETMASK, &r));
  EQ(htonl(0xff000000), ((struct sockaddr_in *)&r.ifr_netmask)->sin_addr.s_addr);
  struct ifreq list[64];
  struct ifconf c = {.ifc_len = sizeof(list), .ifc_req = list};
  SYS(ioctl(s, SIOCGIFCONF, &c));
  int found = 0;
  for (int i = 0; i < c.ifc_len / (int)sizeof(list[0]); i++) found += strcmp(list[i].ifr_name, "lo") == 0;
  EQ(1, found);
  c.ifc_req = NULL;
  SYS(ioctl(s, SIOCGIFCONF, &c));
  CHECK(c.ifc_len >= (int)sizeof(list[0]));
}

TESTS(T(create), T(names), T(links), T(addresses), T(routes), T(route_lookup), T(empty_dumps), T(acks), T(not_allowed), T(garbage),
      T(recv_flags), T(options), T(if_addrs), T(ioctls))

/*
 * shareport.c
 *	  Lets several processes of one user listen at one port, between which the kernel shares out clients.
 *
 * Debian's libwebsockets knows an option for that (LWS_SERVER_OPTION_ALLOW_LISTEN_SHARE), but is built
 * without what it needs. As the program's symbols come before the library's, this definition of bind is
 * the one that the library calls; see socket(7), SO_REUSEPORT.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>

typedef int (*Bind)(int descriptor, const struct sockaddr *address, socklen_t length);

int
bind(int descriptor, const struct sockaddr *address, socklen_t length)
{
	Bind next = (Bind) dlsym(RTLD_NEXT, "bind");
	int one = 1;

	if (next == NULL)
	{
		errno = ENOSYS;
		return -1;
	}
	if ((address->sa_family == AF_INET || address->sa_family == AF_INET6) &&
		setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0)
		return -1;
	return next(descriptor, address, length);
}

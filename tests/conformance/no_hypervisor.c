/*
 * Copyright (c) 2026, xen.pci contributors
 * GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
/*
 * Preloaded into Debian's xenstored and oxenstored, this stands where the hypervisor would be: every
 * domain exists, rings and grants are zero pages, event channels never fire. The daemons are unmodified.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void *zero_page(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

void *xc_interface_open(void *a, void *b, unsigned c) { return (void *)1; }
int xc_interface_close(void *x) { return 0; }
int xc_domain_getinfo(void *x, uint32_t first, unsigned n, uint32_t *info)
{
	memset(info, 0, 12);
	info[0] = first;
	return 1;
}
int xc_domain_getinfolist(void *x, uint32_t first, unsigned n, uint16_t *info)
{
	memset(info, 0, 16);
	info[0] = first;
	return 1;
}
void *xc_map_foreign_range(void *x, uint32_t d, int size, int prot, unsigned long mfn) { return zero_page(); }

void *xengnttab_open(void *l, unsigned f) { return (void *)1; }
int xengnttab_close(void *x) { return 0; }
int xengnttab_set_max_grants(void *x, uint32_t n) { return 0; }
void *xengnttab_map_grant_ref(void *x, uint32_t d, uint32_t r, int prot) { return zero_page(); }
int xengnttab_unmap(void *x, void *a, uint32_t n) { return munmap(a, 4096); }

void *xenevtchn_open(void *l, unsigned f)
{
	int *fd = malloc(sizeof *fd);
	*fd = eventfd(0, EFD_NONBLOCK);
	return fd;
}
void *xenevtchn_fdopen(void *l, int fd, unsigned f) { return xenevtchn_open(l, f); }
int xenevtchn_close(void *x) { return 0; }
int xenevtchn_fd(int *x) { return *x; }
int xenevtchn_bind_interdomain(void *x, uint32_t d, uint32_t p) { static int next = 10; return next++; }
int xenevtchn_bind_virq(void *x, unsigned v) { return 2; }
int xenevtchn_unbind(void *x, uint32_t p) { return 0; }
int xenevtchn_pending(void *x) { return -1; }
int xenevtchn_unmask(void *x, uint32_t p) { return 0; }
int xenevtchn_notify(void *x, uint32_t p) { return 0; }

/* oxenstored wants as many descriptors as the kernel knows, which only the real root may have. */
int setrlimit(__rlimit_resource_t r, const struct rlimit *l) { return 0; }

static int stand_in(const char *path)
{
	int fd = -1;
	if (!strcmp(path, "/proc/xen/xsd_port")) {
		fd = memfd_create("port", 0);
		/* Without a newline: oxenstored takes the text as it is. */
		if (write(fd, "1", 1) == 1)
			lseek(fd, 0, SEEK_SET);
	} else if (!strcmp(path, "/proc/xen/xsd_kva")) {
		fd = memfd_create("kva", 0);
		if (ftruncate(fd, 4096))
			abort();
	}
	return fd;
}

#define OPEN(name)                                                        \
	int name(const char *path, int flags, ...)                        \
	{                                                                 \
		int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
		va_list rest;                                             \
		int mode, fd = stand_in(path);                            \
		va_start(rest, flags);                                    \
		mode = va_arg(rest, int);                                 \
		va_end(rest);                                             \
		return fd >= 0 ? fd : real(path, flags, mode);            \
	}
OPEN(open)
OPEN(open64)

// SPDX-License-Identifier: MIT
/*
 * use_disk: uses a disk in ways that are hard to notice, until it is killed.
 *
 *	use_disk open PATH	a plain descriptor
 *	use_disk map PATH	mapped, with the descriptor closed
 *	use_disk thread PATH	a descriptor in the own table of a thread, the first thread is gone
 *	use_disk claim PATH	a descriptor opened exclusively
 *
 * Prints "ready" when it has the disk.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *how, *path;

static void fail_if(int failed, const char *what)
{
	if (!failed)
		return;
	perror(what);
	exit(1);
}

static void *use(void *arg)
{
	int fd;

	if (strcmp(how, "thread") == 0)
		fail_if(unshare(CLONE_FILES) != 0, "unshare");
	fd = open(path, strcmp(how, "claim") == 0 ? O_RDONLY | O_EXCL : O_RDONLY);
	fail_if(fd < 0, path);
	if (strcmp(how, "map") == 0) {
		fail_if(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED, "mmap");
		close(fd);
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	pthread_t thread;

	if (argc != 3) {
		fprintf(stderr, "usage: use_disk open|map|thread|claim PATH\n");
		return 2;
	}
	how = argv[1];
	path = argv[2];
	if (strcmp(how, "thread") != 0)
		use(NULL);
	fail_if(pthread_create(&thread, NULL, use, NULL) != 0, "pthread_create");
	pthread_exit(NULL);
}

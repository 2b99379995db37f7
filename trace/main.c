// SPDX-License-Identifier: MIT
/*
 * nvtrace, the program. All of it is in a library, which the tests use, too.
 */
#include "cli.h"
#include <fcntl.h>
#include <unistd.h>

/* No file of ours shall become standard output because the shell has closed that. */
static void open_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct arguments a = {.output = &text_output, .options.prefix = true};
	int rc;

	open_standard_files();
	rc = parse_arguments(&a, argc, argv);
	if (rc >= 0)
		return rc;
	rc = check_targets(&a);
	if (rc == 0)
		rc = run(&a);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "nvtrace: the output cannot be written: %s\n", strerror(errno));
		return NOT_DECODED;
	}
	return rc;
}

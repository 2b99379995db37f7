// SPDX-License-Identifier: MIT
/*
 * What may be written to: nothing that is read, and nothing that would be lost.
 */
#include "cli.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Whatever the two are called. Terminals and pipes may be both: nothing is in them to lose. */
static bool same_file(const struct stat *a, const struct stat *b)
{
	return S_ISREG(a->st_mode) && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool is_input(const char *name, const struct stat *file)
{
	struct stat st;

	return (is_stdin(name) ? fstat(STDIN_FILENO, &st) : stat(name, &st)) == 0 &&
	       same_file(&st, file);
}

/* The input that this file is; NULL: none. */
static const char *which_input(const struct arguments *a, const struct stat *file)
{
	int i;

	for (i = 0; i < a->files; i++)
		if (is_input(a->file[i], file))
			return a->file[i];
	if (a->with != NULL && is_input(a->with, file))
		return a->with;
	return a->files == 0 && is_input("-", file) ? "standard input" : NULL;
}

/* Is this a trace, and not our text, where -v quotes a line of one now and then? */
static bool mostly(const struct reader_ops *is, const struct reader *rd)
{
	const uint8_t *line = rd->head, *end = rd->head + rd->head_len, *next;
	size_t lines = 0, its = 0;

	if (memchr(line, 0, rd->head_len) != NULL)
		return true;
	for (; line < end; line = next + 1, lines++) {
		next = memchr(line, '\n', (size_t)(end - line));
		next = next != NULL ? next : end;
		its += is->probe(line, (size_t)(next - line)) > 0;
	}
	return its * 2 >= lines;
}

/*
 * Would writing to this file lose something that nvtrace did not write? NULL: no. Its own text looks
 * like SPDK's, so logs of SPDK are not protected.
 */
static const char *what_is_lost(const char *name)
{
	static const uint8_t pcapng[] = {0x0a, 0x0d, 0x0d, 0x0a};
	const struct reader_ops *is;
	FILE *file = fopen(name, "rb");
	struct reader rd;

	if (file == NULL)
		return NULL;
	memset(&rd, 0, sizeof(rd));
	rd.head_len = fread(rd.head, 1, sizeof(rd.head), file);
	fclose(file);
	is = reader_probe(&rd);
	if (is != NULL && is != &spdk_reader && mostly(is, &rd))
		return "is a trace itself";
	if (rd.head_len >= sizeof(pcapng) && memcmp(rd.head, pcapng, sizeof(pcapng)) == 0)
		return NULL;
	return memchr(rd.head, 0, rd.head_len) != NULL ? "holds what nvtrace has not written"
	                                               : NULL;
}

static int check_out_file(const struct arguments *a)
{
	const char *name = a->options.out_file, *input, *lost;
	struct stat st;

	if (stat(name, &st) != 0)
		return 0;
	input = which_input(a, &st);
	if (input != NULL)
		return usage_error("the output %s is the input %s: give it another name", name,
		                   input);
	if (S_ISBLK(st.st_mode))
		return usage_error("the output %s is a disk: give the name of a file", name);
	lost = S_ISREG(st.st_mode) ? what_is_lost(name) : NULL;
	if (lost != NULL)
		return usage_error("the output %s %s: give it another name, or delete the file "
		                   "first",
		                   name, lost);
	return 0;
}

/* What the shell has opened: with >> the output would become input, without end. */
static int check_stdout(const struct arguments *a)
{
	const char *input;
	struct stat st;

	if (fstat(STDOUT_FILENO, &st) != 0)
		return 0;
	input = which_input(a, &st);
	if (input == NULL)
		return 0;
	return usage_error("standard output is the input %s: write to another file%s", input,
	                   st.st_size == 0 ? " (with > the shell has emptied this one before "
	                                     "nvtrace could say so)"
	                                   : "");
}

int check_targets(const struct arguments *a)
{
	struct stat st;

	if (fstat(STDERR_FILENO, &st) == 0 && which_input(a, &st) != NULL)
		return WRONG_USAGE; /* saying so would already change it */
	return a->options.out_file != NULL && !is_stdin(a->options.out_file) ? check_out_file(a)
	                                                                     : check_stdout(a);
}

int output_open(const struct options *options)
{
	int fd, rc = 0;

	if (options->out_file == NULL || is_stdin(options->out_file))
		return 0;
	fd = open(options->out_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0) {
		rc = -errno;
		fprintf(stderr,
		        "nvtrace: cannot write %s (%s): name a file in a directory that you may "
		        "write to\n",
		        options->out_file, strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	return rc;
}

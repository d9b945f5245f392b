# An end for processes whose parent has died and which cannot do what a signal asks.
#
# PR_SET_PDEATHSIG delivers SIGTERM, whose handler runs in the event loop: a child that loops or
# waits in a call would stay for ever, with its processor and its share of the listening sockets, and
# nobody is left to see that it hangs. So a thread that needs no interpreter waits for the parent's
# end (pidfd_open(2)), gives the child its time to leave, and kills it.

from libc.errno cimport EINTR, ENOSYS, EPERM, errno
from libc.stdint cimport intptr_t


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int poll(pollfd* fds, unsigned long count, int timeout)


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_create(pthread_t* thread, const void* attributes, void* (*start)(void*) noexcept nogil, void* argument)
    int pthread_detach(pthread_t thread)


cdef extern from "<signal.h>" nogil:
    ctypedef struct sigset_t:
        pass
    int SIG_BLOCK
    int SIG_SETMASK
    int SIGKILL
    int sigfillset(sigset_t* signals)
    int pthread_sigmask(int how, const sigset_t* signals, sigset_t* before)
    int kill(int process, int number)


cdef extern from "<sys/syscall.h>" nogil:
    long SYS_pidfd_open


cdef extern from "<unistd.h>" nogil:
    int close(int descriptor)
    int getpid()
    long syscall(long number, ...)
    unsigned int sleep(unsigned int seconds)


cdef unsigned int seconds_left  # one parent, so one time; set before the thread begins


cdef void* _wait(void* argument) noexcept nogil:
    cdef pollfd parent
    cdef unsigned int left = seconds_left
    parent.fd = <int> <intptr_t> argument
    parent.events = POLLIN
    while poll(&parent, 1, -1) < 0:
        if errno != EINTR:
            return NULL
    while left:
        left = sleep(left)
    kill(getpid(), SIGKILL)
    return NULL


def end_after_parent(int parent, unsigned int seconds):
    """Kill this process `seconds` after the process `parent` has ended, if it is still there then.

    Needs no interpreter, so it reaches a process that loops or waits anywhere. Returns False where the kernel
    does not let it watch (before Linux 5.3, or a filter of system calls). Raises OSError for anything else,
    ProcessLookupError for a parent that is gone.
    """
    global seconds_left
    cdef sigset_t every, before
    cdef pthread_t thread
    cdef int failed
    cdef int descriptor = <int> syscall(SYS_pidfd_open, parent, 0)
    if descriptor < 0:
        if errno == ENOSYS or errno == EPERM:
            return False
        raise OSError(errno, "the parent process cannot be watched")
    seconds_left = seconds
    # Signals are for the main thread.
    sigfillset(&every)
    pthread_sigmask(SIG_BLOCK, &every, &before)
    failed = pthread_create(&thread, NULL, _wait, <void*> <intptr_t> descriptor)
    pthread_sigmask(SIG_SETMASK, &before, NULL)
    if failed:
        close(descriptor)
        raise OSError(failed, "a thread cannot be started")
    pthread_detach(thread)
    return True

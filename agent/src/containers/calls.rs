//! Which calls of the kernel a container may make: those named here and no others, so that what a later kernel knows is not
//! given to anybody before somebody has looked at it.

use serde_json::{Value, json};

/// Calls that look at nothing but the caller and its own files, processes and connections: all that Linux 6.1 has, on any
/// machine, but for those below, and those that no kernel has any more.
#[rustfmt::skip]
const ALLOWED: [&str; 357] = [
    "_llseek", "_newselect", "accept", "accept4", "access", "adjtimex", "alarm", "arch_prctl", "arm_fadvise64_64",
    "arm_sync_file_range", "bind", "breakpoint", "brk", "cacheflush", "capget", "capset", "chdir", "chown", "chown32",
    "clock_getres", "clock_getres_time64", "clock_gettime", "clock_gettime64", "clock_nanosleep",
    "clock_nanosleep_time64", "close", "close_range", "connect", "copy_file_range", "dup", "dup2", "dup3",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2",
    "execve", "execveat", "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fadvise64_64", "fallocate",
    "fchdir", "fchown", "fchown32", "fchownat", "fcntl", "fcntl64", "fdatasync", "fgetxattr", "flistxattr", "flock",
    "fork", "fremovexattr", "fsetxattr", "fstat", "fstat64", "fstatat64", "fstatfs", "fstatfs64", "fsync",
    "ftruncate", "ftruncate64", "futex", "futex_time64", "futex_waitv", "futimesat", "get_mempolicy",
    "get_robust_list", "get_thread_area", "get_tls", "getcpu", "getcwd", "getdents", "getdents64", "getegid",
    "getegid32", "geteuid", "geteuid32", "getgid", "getgid32", "getgroups", "getgroups32", "getitimer", "getpeername",
    "getpgid", "getpgrp", "getpid", "getppid", "getpriority", "getrandom", "getresgid", "getresgid32", "getresuid",
    "getresuid32", "getrlimit", "getrusage", "getsid", "getsockname", "getsockopt", "gettid", "gettimeofday",
    "getuid", "getuid32", "getxattr", "inotify_add_watch", "inotify_init", "inotify_init1", "inotify_rm_watch",
    "io_cancel", "io_destroy", "io_getevents", "io_pgetevents", "io_pgetevents_time64", "io_setup", "io_submit",
    "ioctl", "ioprio_get", "ioprio_set", "ipc", "kill", "landlock_add_rule", "landlock_create_ruleset",
    "landlock_restrict_self", "lchown", "lchown32", "lgetxattr", "link", "linkat", "listen", "listxattr",
    "llistxattr", "lremovexattr", "lseek", "lsetxattr", "lstat", "lstat64", "madvise", "mbind", "membarrier",
    "memfd_create", "memfd_secret", "mincore", "mlock", "mlock2", "mlockall", "mmap", "mmap2", "modify_ldt",
    "mprotect", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64", "mq_unlink", "mremap", "msgctl", "msgget", "msgrcv", "msgsnd", "msync", "munlock",
    "munlockall", "munmap", "nanosleep", "newfstatat", "nice", "pause", "personality", "pidfd_open",
    "pidfd_send_signal", "pipe", "pipe2", "pkey_alloc", "pkey_free", "pkey_mprotect", "poll", "ppoll", "ppoll_time64",
    "prctl", "pread64", "preadv", "preadv2", "prlimit64", "process_mrelease", "pselect6", "pselect6_time64", "ptrace",
    "pwrite64", "pwritev", "pwritev2", "read", "readahead", "readdir", "readlink", "readlinkat", "readv", "recvfrom",
    "recvmmsg", "recvmmsg_time64", "recvmsg", "remap_file_pages", "removexattr", "rename", "renameat", "renameat2",
    "restart_syscall", "riscv_flush_icache", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigtimedwait_time64",
    "rt_tgsigqueueinfo", "s390_guarded_storage", "s390_pci_mmio_read", "s390_pci_mmio_write", "s390_runtime_instr",
    "s390_sthyi", "sched_get_priority_max", "sched_get_priority_min", "sched_getaffinity", "sched_getattr",
    "sched_getparam", "sched_getscheduler", "sched_rr_get_interval", "sched_rr_get_interval_time64",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
    "semctl", "semget", "semop", "semtimedop", "semtimedop_time64", "sendfile", "sendfile64", "sendmmsg", "sendmsg",
    "sendto", "set_mempolicy", "set_robust_list", "set_thread_area", "set_tid_address", "set_tls", "setfsgid",
    "setfsgid32", "setfsuid", "setfsuid32", "setgid", "setgid32", "setgroups", "setgroups32", "setitimer", "setpgid",
    "setpriority", "setregid", "setregid32", "setresgid", "setresgid32", "setresuid", "setresuid32", "setreuid",
    "setreuid32", "setrlimit", "setsid", "setsockopt", "setuid", "setuid32", "setxattr", "sgetmask", "shmat",
    "shmctl", "shmdt", "shmget", "shutdown", "sigaction", "sigaltstack", "signal", "signalfd", "signalfd4",
    "sigpending", "sigprocmask", "sigreturn", "sigsuspend", "socket", "socketcall", "socketpair", "splice",
    "ssetmask", "stat", "stat64", "statfs", "statfs64", "statx", "swapcontext", "symlink", "symlinkat", "sync",
    "sync_file_range", "sync_file_range2", "syncfs", "sysinfo", "tee", "tgkill", "time", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime", "timer_settime64",
    "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime", "timerfd_settime64", "times",
    "tkill", "truncate", "truncate64", "ugetrlimit", "umask", "uname", "unlink", "unlinkat", "utime", "utimensat",
    "utimensat_time64", "utimes", "vfork", "vmsplice", "wait4", "waitid", "waitpid", "write", "writev",
];
/// Calls that change the host, look into it, or begin another container. Most need rights that no container has; that is
/// no reason to let them be tried. They are named so that who tries hears that it is not permitted: of what is not named
/// here at all it hears that there is no such call, and does without.
#[rustfmt::skip]
const REFUSED: [&str; 54] = [
    "acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "fanotify_init",
    "fanotify_mark", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load", "keyctl",
    "lookup_dcookie", "mount", "mount_setattr", "move_mount", "name_to_handle_at", "nfsservctl", "open_by_handle_at",
    "open_tree", "perf_event_open", "pidfd_getfd", "pivot_root", "process_madvise", "process_vm_readv",
    "process_vm_writev", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname", "sethostname", "setns",
    "settimeofday", "swapoff", "swapon", "syslog", "umount", "umount2", "unshare", "userfaultfd", "vhangup",
];
/// Bits of `clone` that begin a namespace: mount, cgroup, uts, ipc, user, pid, network.
const NAMESPACE_BITS: [u64; 7] =
    [0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
/// Calls that give a file a mode, with the place of that among what they are given. What is not permitted here, whoever
/// asks, are the bits by which a file runs with its owner's rights: a directory of the host's that a container writes to
/// may be one that others of the host reach. `fchmodat2` and `openat2` do the same; the one is not named above, and what
/// the other is given cannot be looked at.
const GIVE_MODES: [(&str, u32); 8] = [
    ("chmod", 1),
    ("creat", 1),
    ("fchmod", 1),
    ("fchmodat", 2),
    ("mkdir", 1),
    ("mkdirat", 2),
    ("mknod", 1),
    ("mknodat", 2),
];
/// The same, of calls that only do so when they make a file: the places of what is done, and of the mode.
const MAY_GIVE_MODES: [(&str, u32, u32); 2] = [("open", 1, 2), ("openat", 2, 3)];
/// The bits: set-user-ID and set-group-ID.
const SETID_BITS: [u64; 2] = [0o4000, 0o2000];
/// What `open` is told to make a file (`O_CREAT`), with a name or without (`__O_TMPFILE`).
const MAKING_BITS: [u64; 2] = [0o100, 0o20_000_000];
/// "Not permitted", as the kernel says it.
const EPERM: u32 = 1;
/// "No such call": whoever hears that of `clone3` uses `clone`, whose bits can be looked at.
const ENOSYS: u32 = 38;

/// One rule of a filter.
struct Rule(Value);

impl Rule {
    fn allow(names: &[&str]) -> Self {
        Self(json!({ "names": names, "action": "SCMP_ACT_ALLOW", "args": [] }))
    }

    fn refuse(names: &[&str]) -> Self {
        Self(json!({ "names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": EPERM, "args": [] }))
    }

    /// Only where what is given at a place has these of the bits of a mask.
    fn only(mut self, place: u32, mask: u64, bits: u64) -> Self {
        if let Some(arguments) = self.0["args"].as_array_mut() {
            arguments.push(json!({ "index": place, "value": mask, "valueTwo": bits, "op": "SCMP_CMP_MASKED_EQ" }));
        }
        self
    }
}

/// The filter, as the runtime's specification has it.
pub(super) fn filter() -> Value {
    let mut rules = vec![Rule::allow(&ALLOWED), Rule::refuse(&REFUSED)];
    rules.push(Rule::allow(&["clone"]).only(0, NAMESPACE_BITS.iter().sum(), 0));
    rules.extend(NAMESPACE_BITS.map(|bit| Rule::refuse(&["clone"]).only(0, bit, bit)));
    let setid = SETID_BITS.iter().sum();
    for (name, mode) in GIVE_MODES {
        rules.push(Rule::allow(&[name]).only(mode, setid, 0));
        rules.extend(SETID_BITS.map(|bit| Rule::refuse(&[name]).only(mode, bit, bit)));
    }
    for (name, how, mode) in MAY_GIVE_MODES {
        // Where nothing is made, anything may stand in the place of a mode.
        rules.push(Rule::allow(&[name]).only(how, MAKING_BITS.iter().sum(), 0));
        rules.push(Rule::allow(&[name]).only(mode, setid, 0));
        for making in MAKING_BITS {
            rules.extend(SETID_BITS.map(|bit| Rule::refuse(&[name]).only(how, making, making).only(mode, bit, bit)));
        }
    }
    let rules: Vec<Value> = rules.into_iter().map(|rule| rule.0).collect();
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": ENOSYS, "syscalls": rules })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_allowed_or_refused_or_looked_at() {
        let looked_at = GIVE_MODES.map(|(name, _)| name).into_iter().chain(MAY_GIVE_MODES.map(|(name, ..)| name));
        let mut all: Vec<&str> = ALLOWED.into_iter().chain(REFUSED).chain(looked_at).chain(["clone"]).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        // A rule without a condition would have the last word over one that has some.
        assert_eq!(all.len(), count, "a call is named twice");
        for left_to_be_none in ["clone3", "openat2", "fchmodat2"] {
            assert!(!all.contains(&left_to_be_none), "{left_to_be_none}");
        }
        assert!(ALLOWED.is_sorted() && REFUSED.is_sorted());
    }
}

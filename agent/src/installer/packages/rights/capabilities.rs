//! Capabilities of files: in the words of libcap (`cap_net_raw=ep`), and as the kernel keeps them.

/// In the order of their numbers.
const NAMES: [&str; 41] = [
    "cap_chown",
    "cap_dac_override",
    "cap_dac_read_search",
    "cap_fowner",
    "cap_fsetid",
    "cap_kill",
    "cap_setgid",
    "cap_setuid",
    "cap_setpcap",
    "cap_linux_immutable",
    "cap_net_bind_service",
    "cap_net_broadcast",
    "cap_net_admin",
    "cap_net_raw",
    "cap_ipc_lock",
    "cap_ipc_owner",
    "cap_sys_module",
    "cap_sys_rawio",
    "cap_sys_chroot",
    "cap_sys_ptrace",
    "cap_sys_pacct",
    "cap_sys_admin",
    "cap_sys_boot",
    "cap_sys_nice",
    "cap_sys_resource",
    "cap_sys_time",
    "cap_sys_tty_config",
    "cap_mknod",
    "cap_lease",
    "cap_audit_write",
    "cap_audit_control",
    "cap_setfcap",
    "cap_mac_override",
    "cap_mac_admin",
    "cap_syslog",
    "cap_wake_alarm",
    "cap_block_suspend",
    "cap_audit_read",
    "cap_perfmon",
    "cap_bpf",
    "cap_checkpoint_restore",
];
/// All of them.
const ALL: u64 = (1 << NAMES.len()) - 1;
/// The part of the first word that says in which way the rest is kept.
const REVISION: u32 = 0xff00_0000;
/// The bit of the first word that says that they are in force from the beginning.
const EFFECTIVE: u32 = 1;

/// What a file may do that whoever starts it may not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    permitted: u64,
    inheritable: u64,
    effective: bool,
}

impl Capabilities {
    /// Whether others have all of these.
    #[must_use]
    pub fn are_within(self, others: Self) -> bool {
        self.permitted & !others.permitted == 0
            && self.inheritable & !others.inheritable == 0
            && (!self.effective || others.effective)
    }

    /// As `cap_from_text` understands them; `None` where it, or this, does not.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        // Effective, inheritable, permitted.
        let mut sets = [0_u64; 3];
        for clause in text.split_ascii_whitespace() {
            let begin = clause.find(['=', '+', '-'])?;
            let (names, mut actions) = clause.split_at(begin);
            let of = match names {
                // Only "=" says something of all of them without their names.
                "" if actions.starts_with('=') => ALL,
                "all" => ALL,
                names => names.split(',').try_fold(0, |of, name| Some(of | (1 << number(name)?)))?,
            };
            while let Some(action) = actions.chars().next() {
                actions = &actions[action.len_utf8()..];
                let end = actions.find(['=', '+', '-']).unwrap_or(actions.len());
                let (flags, rest) = actions.split_at(end);
                actions = rest;
                if action == '=' {
                    sets.iter_mut().for_each(|set| *set &= !of);
                }
                for flag in flags.chars() {
                    let set = &mut sets["eip".find(flag)?];
                    *set = if action == '-' { *set & !of } else { *set | of };
                }
            }
        }
        let [effective, inheritable, permitted] = sets;
        Some(Self { permitted, inheritable, effective: effective != 0 })
    }

    /// As the kernel keeps them (`struct vfs_cap_data`); `None` where that is damaged, or kept in a way of the future.
    #[must_use]
    pub fn from_attribute(bytes: &[u8]) -> Option<Self> {
        let words: Vec<u32> =
            bytes.chunks(4).map(|word| Some(u32::from_le_bytes(word.try_into().ok()?))).collect::<Option<_>>()?;
        let low_high = |low: u32, high: u32| u64::from(low) | (u64::from(high) << 32);
        let (first, permitted, inheritable) = match words[..] {
            [first, permitted, inheritable] if first & REVISION == 0x0100_0000 => {
                (first, permitted.into(), inheritable.into())
            }
            [first, p, i, p_high, i_high] if first & REVISION == 0x0200_0000 => {
                (first, low_high(p, p_high), low_high(i, i_high))
            }
            // Those of a user namespace are none on the host itself.
            [first, p, i, p_high, i_high, root] if first & REVISION == 0x0300_0000 => match root {
                0 => (first, low_high(p, p_high), low_high(i, i_high)),
                _ => return Some(Self::default()),
            },
            _ => return None,
        };
        Some(Self { permitted, inheritable, effective: first & EFFECTIVE != 0 })
    }
}

fn number(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: u64 = 1 << 13;
    const ADMIN: u64 = 1 << 21;

    #[test]
    fn the_words_of_libcap_are_understood_or_not_believed() {
        for (text, permitted, inheritable, effective) in [
            ("cap_net_raw=ep", RAW, 0, true),
            ("cap_net_raw+ep", RAW, 0, true),
            ("= cap_net_raw+p", RAW, 0, false),
            ("cap_net_raw,cap_sys_admin=p", RAW | ADMIN, 0, false),
            ("cap_net_raw=eip cap_sys_admin+i", RAW, RAW | ADMIN, true),
            ("CAP_NET_RAW=p", RAW, 0, false),
            ("=ep cap_net_raw-ep", ALL & !RAW, 0, true),
            ("all=p cap_sys_admin-p", ALL & !ADMIN, 0, false),
            ("cap_net_raw=i+p", RAW, RAW, false),
            ("cap_net_raw=p=", 0, 0, false),
            ("=", 0, 0, false),
        ] {
            assert_eq!(
                Capabilities::from_text(text),
                Some(Capabilities { permitted, inheritable, effective }),
                "{text}"
            );
        }
        for text in ["cap_net_raw", "cap_fly=ep", "+ep", "cap_net_raw=x", "41=ep", ",=p"] {
            assert_eq!(Capabilities::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn what_the_kernel_keeps_is_understood_or_not_believed() {
        let kept = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
        let (low, high) = (1 << 13, 1 << 7);
        let checkpoint = RAW | (1 << 39);
        for (words, permitted, inheritable, effective) in [
            (vec![0x0100_0000, low, 0], RAW, 0, false),
            (vec![0x0200_0001, low, 0, high, 0], checkpoint, 0, true),
            (vec![0x0200_0000, 0, low, 0, high], 0, checkpoint, false),
            (vec![0x0300_0001, low, 0, 0, 0, 0], RAW, 0, true),
            (vec![0x0300_0001, low, 0, 0, 0, 1000], 0, 0, false),
        ] {
            let expected = Some(Capabilities { permitted, inheritable, effective });
            assert_eq!(Capabilities::from_attribute(&kept(&words)), expected, "{words:x?}");
        }
        for words in [vec![], vec![0x0200_0001], vec![0x0400_0000, 0, 0, 0, 0], vec![0x0200_0000, 0, 0]] {
            assert_eq!(Capabilities::from_attribute(&kept(&words)), None, "{words:x?}");
        }
        assert_eq!(Capabilities::from_attribute(&kept(&[0x0100_0000, low, 0])[..11]), None);
    }
}

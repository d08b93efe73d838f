//! What an agent reads of slots: the boot environment, which a boot loader writes to, and superblocks of images.

use crate::doors::is_a_sentence;
use agent::installer::images::environment::{BLOCK_BYTES, Block, Choice, SlotName, TRIES_MAX};
use agent::installer::images::squashfs::{SUPERBLOCK_BYTES, superblock};

/// What can be written into a block changes three bytes of it at the most, and is read again.
pub fn environment(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    // Blocks have one length: what is shorter is filled up, as GRUB does.
    if bytes.last() == Some(&b'\n') && bytes.len() < BLOCK_BYTES {
        bytes.resize(BLOCK_BYTES, b'#');
    }
    let mut block = match Block::parse(&bytes) {
        Ok(block) => block,
        Err(refusal) => return is_a_sentence(&refusal.to_string()),
    };
    assert_eq!(block.bytes()[..], bytes[..], "what is read is what is there");
    let there = block.choice();
    let said = |name: &str, value: &str| {
        let line = format!("\n{name}={value}\n");
        bytes[..BLOCK_BYTES].windows(line.len()).any(|window| window == line.as_bytes())
    };
    assert!(said("countersign_active", &there.active.to_string()));
    assert!(said("countersign_trying", &there.trying.map_or("-".to_owned(), |slot| slot.to_string())));
    assert!(said("countersign_tries_left", &there.tries_left.to_string()));
    for active in [SlotName::A, SlotName::B] {
        for trying in [None, Some(SlotName::A), Some(SlotName::B)] {
            let choice = Choice { active, trying, tries_left: (there.tries_left + 1) % (TRIES_MAX + 1) };
            block.set(choice);
            assert!(bytes.iter().zip(block.bytes()).filter(|(a, b)| a != b).count() <= 3, "three bytes at the most");
            assert_eq!(Block::parse(block.bytes()).map(|block| block.choice()), Ok(choice));
        }
    }
}

/// What a kernel would be told lies in the image.
pub fn read_superblock(bytes: &[u8]) {
    let length = bytes.len() as u64;
    match superblock(bytes, length) {
        Err(refusal) => is_a_sentence(&refusal.to_string()),
        Ok(image) => {
            let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            assert!(bytes.starts_with(b"hsqs") && bytes.len() >= SUPERBLOCK_BYTES);
            assert!(image.bytes_used == field(40) && image.bytes_used <= length);
            // Owners, attributes, inodes, directories, fragments, exports: in the image, or not there.
            for at in (48..SUPERBLOCK_BYTES).step_by(8) {
                let place = field(at);
                assert!((96..image.bytes_used).contains(&place) || (place == u64::MAX && ![48, 64, 72].contains(&at)));
            }
            assert!(field(64) < field(72));
        }
    }
}

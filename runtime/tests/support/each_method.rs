//! Every method of the platform, for platforms that hand all that they are asked on to another one.

/// Gives `$take!` the signatures of all methods but `fill`, which tests take a part in.
macro_rules! each_method_but_fill {
    ($take:ident) => {
        $take! {
            cpus() -> usize;
            freeze_online() -> Option<CpuSet>;
            thaw_online();
            kick(cpus: &CpuSet);
            now_ns() -> u64;
            relax(interrupts: Interrupts);
            interrupts() -> Interrupts;
            interrupts_off() -> Interrupts;
            interrupts_restore(before: Interrupts);
            mask_nmis();
            unmask_nmis();
            serialise();
            read(address: u64, into: &mut [u8]) -> Result<(), MemoryFault>;
            open_text(quiesced: &Quiesced);
            close_text(quiesced: &Quiesced);
            write_text(quiesced: &Quiesced, address: u64, bytes: &[u8]);
            write_word(quiesced: &Quiesced, address: u64, value: u64);
            allocate(bytes: u64) -> Result<Region, RegionsExhausted>;
            protect(region: Region, access: Access);
            unmap(region: Region);
            flush_tlbs() -> Result<(), CpuSet>;
            release(region: Region);
            call_hook(address: u64, argument: Option<&HookArgument>) -> i32;
            has_feature(feature: u16) -> bool;
            current_cpu() -> CpuId;
            log(level: Level, line: fmt::Arguments<'_>);
        }
    };
}

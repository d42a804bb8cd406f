package org.llmcore.cpu.code;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.Collectors;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;
import static org.llmcore.cpu.code.Gpr.*;
import static org.llmcore.cpu.code.Vec.*;

/// Every instruction has the bytes that the GNU assembler writes. They were recorded once (binutils 2.40, `assembler.txt`) and
/// are compared everywhere; where `as` and `objcopy` exist the record itself is made again and compared.
class AssemblerTest {
  private record Case(String text, Consumer<Assembler> code) {}

  private static Case of(String text, Consumer<Assembler> code) {
    return new Case(text, code);
  }

  private static final List<Case> CASES =
      List.of(
          of("mov rax, r9", a -> a.mov(RAX, R9)),
          of("mov r12, rdi", a -> a.mov(R12, RDI)),
          of("mov ecx, 77", a -> a.mov(RCX, 77)),
          of("mov r9d, 0x89abcdef", a -> a.mov(R9, 0x89abcdefL)),
          of("mov rdx, -5", a -> a.mov(RDX, -5)),
          of("movabs r10, 0x123456789abcdef0", a -> a.mov(R10, 0x123456789abcdef0L)),
          of("mov rax, [rdi]", a -> a.mov(RAX, RDI.at(0))),
          of("mov r8, [rbp]", a -> a.mov(R8, RBP.at(0))),
          of("mov r8, [r13+8]", a -> a.mov(R8, R13.at(8))),
          of("mov r15, [rsp+0x1000]", a -> a.mov(R15, RSP.at(0x1000))),
          of("mov rcx, [r12+r9*8-128]", a -> a.mov(RCX, R12.at(R9, 8, -128))),
          of("mov [rsi+16], r11", a -> a.mov(RSI.at(16), R11)),
          of("mov eax, [r8+8]", a -> a.mov32(RAX, R8.at(8))),
          of("mov [r8+rdx*4], ebx", a -> a.mov32(R8.at(RDX, 4, 0), RBX)),
          of("movzx eax, byte ptr [r10+rax]", a -> a.movzx8(RAX, R10.at(RAX, 1, 0))),
          of("movzx r9d, word ptr [rsi+2]", a -> a.movzx16(R9, RSI.at(2))),
          of("lea rax, [rsi+rcx*4+1000]", a -> a.lea(RAX, RSI.at(RCX, 4, 1000))),
          of("add rsi, r10", a -> a.add(RSI, R10)),
          of("sub r10, rsi", a -> a.sub(R10, RSI)),
          of("and rax, rcx", a -> a.and(RAX, RCX)),
          of("xor r8, r8", a -> a.xor(R8, R8)),
          of("cmp rdi, rsi", a -> a.cmp(RDI, RSI)),
          of("test r9, r9", a -> a.test(R9, R9)),
          of("imul rax, r11", a -> a.imul(RAX, R11)),
          of("add rsi, 64", a -> a.add(RSI, 64)),
          of("add r11, 4096", a -> a.add(R11, 4096)),
          of("add rax, 4096", a -> a.add(RAX, 4096)),
          of("sub rdx, 6", a -> a.sub(RDX, 6)),
          of("and rcx, -16", a -> a.and(RCX, -16)),
          of("cmp r9, 1000", a -> a.cmp(R9, 1000)),
          of("add rax, [rdi+24]", a -> a.add(RAX, RDI.at(24))),
          of("sub r11, [rsp+24]", a -> a.sub(R11, RSP.at(24))),
          of("cmp rdx, [rdi+8]", a -> a.cmp(RDX, RDI.at(8))),
          of("shl rax, 6", a -> a.shl(RAX, 6)),
          of("shl rax, 1", a -> a.shl(RAX, 1)),
          of("shr r9, 4", a -> a.shr(R9, 4)),
          of("sar rcx, 2", a -> a.sar(RCX, 2)),
          of("inc r10", a -> a.inc(R10)),
          of("dec rcx", a -> a.dec(RCX)),
          of("cmovb rax, r9", a -> a.cmov(Condition.BELOW, RAX, R9)),
          of("cmovg r8, rdx", a -> a.cmov(Condition.GREATER, R8, RDX)),
          of("push rbx", a -> a.push(RBX)),
          of("push r12", a -> a.push(R12)),
          of("pop r12", a -> a.pop(R12)),
          of("bzhi r10, r9, r11", a -> a.bzhi(R10, R9, R11)),
          of("cpuid", Assembler::cpuid),
          of("xgetbv", Assembler::xgetbv),
          of("ret", Assembler::ret),
          of("prefetcht0 [rsi+256]", a -> a.prefetcht0(RSI.at(256))),
          of("kmovw k1, eax", a -> a.kmovw(1, RAX)),
          of("kmovd k2, r9d", a -> a.kmovd(2, R9)),
          of("kmovw edx, k1", a -> a.kmovw(RDX, 1)),
          of("kmovw k4, [r8+r9+6]", a -> a.kmovw(4, R8.at(R9, 1, 6))),
          of("kmovw k5, [r8+2]", a -> a.kmovw(5, R8.at(2))),
          of("vmovups zmm1, [rsi]", a -> a.vmovups(zmm(1), RSI.at(0))),
          of("vmovups zmm17{k1}{z}, [r9+64]", a -> a.vmovups(zmm(17).zero(1), R9.at(64))),
          of("vmovups zmm30, [rsi+rcx*4+100]", a -> a.vmovups(zmm(30), RSI.at(RCX, 4, 100))),
          of("vmovups [rdi+128]{k2}, zmm3", a -> a.vmovups(RDI.at(128), zmm(3).keep(2))),
          of("{evex} vmovups ymm4, [rdx+32]", a -> a.vmovups(ymm(4), RDX.at(32))),
          of("{evex} vmovups [rdx], xmm4", a -> a.vmovups(RDX.at(0), xmm(4))),
          of("vmovaps zmm12, zmm25", a -> a.vmovaps(zmm(12), zmm(25))),
          of("{evex} vmovss xmm7, dword ptr [rdi+8]", a -> a.vmovss(xmm(7), RDI.at(8))),
          of("{evex} vmovss dword ptr [rdi+12], xmm7", a -> a.vmovss(RDI.at(12), xmm(7))),
          of("vmovdqu16 ymm5{k1}{z}, [rsi+32]", a -> a.vmovdqu16(ymm(5).zero(1), RSI.at(32))),
          of("vmovdqu16 [rsi]{k1}, ymm5", a -> a.vmovdqu16(RSI.at(0), ymm(5).keep(1))),
          of("vbroadcastss zmm31, [r8+20]", a -> a.vbroadcastss(zmm(31), R8.at(20))),
          of("vpbroadcastw ymm17{k3}, [r8+r9*1+2]", a -> a.vpbroadcastw(ymm(17).keep(3), R8.at(R9, 1, 2))),
          of("vbroadcastf32x4 zmm17, [rsi+rdx*2+16]", a -> a.vbroadcastf32x4(zmm(17), RSI.at(RDX, 2, 16))),
          of("vinsertf32x4 zmm25, zmm24, [r8+r9+48], 3", a -> a.vinsertf32x4(zmm(25), zmm(24), R8.at(R9, 1, 48), 3)),
          of("vbroadcastss zmm8, xmm20", a -> a.vbroadcastss(zmm(8), xmm(20))),
          of("vpbroadcastd zmm6, r10d", a -> a.vpbroadcastd(zmm(6), R10)),
          of("vpbroadcastq zmm6, rcx", a -> a.vpbroadcastq(zmm(6), RCX)),
          of("vaddps zmm1, zmm2, zmm3", a -> a.vaddps(zmm(1), zmm(2), zmm(3))),
          of("vaddps zmm1, zmm18, [rsi+64]", a -> a.vaddps(zmm(1), zmm(18), RSI.at(64))),
          of("vsubps zmm1, zmm2, zmm19", a -> a.vsubps(zmm(1), zmm(2), zmm(19))),
          of("vsubps zmm1, zmm2, dword ptr [rsi+4]{1to16}", a -> a.vsubps(zmm(1), zmm(2), RSI.at(4).all())),
          of("vmulps zmm9, zmm10, zmm11", a -> a.vmulps(zmm(9), zmm(10), zmm(11))),
          of("vmulps zmm9, zmm10, [r11+192]", a -> a.vmulps(zmm(9), zmm(10), R11.at(192))),
          of("vdivps zmm9, zmm10, zmm11", a -> a.vdivps(zmm(9), zmm(10), zmm(11))),
          of("vmaxps zmm9, zmm10, zmm11", a -> a.vmaxps(zmm(9), zmm(10), zmm(11))),
          of("vmaxps zmm9, zmm10, [rax]", a -> a.vmaxps(zmm(9), zmm(10), RAX.at(0))),
          of("vminps zmm9, zmm10, zmm11", a -> a.vminps(zmm(9), zmm(10), zmm(11))),
          of("vsqrtps zmm9, zmm11", a -> a.vsqrtps(zmm(9), zmm(11))),
          of("vfmadd231ps zmm21, zmm2, zmm13", a -> a.vfmadd231ps(zmm(21), zmm(2), zmm(13))),
          of("vfmadd231ps zmm21{k3}, zmm2, zmm13", a -> a.vfmadd231ps(zmm(21).keep(3), zmm(2), zmm(13))),
          of("vfmadd231ps zmm0, zmm2, [rsi+128]", a -> a.vfmadd231ps(zmm(0), zmm(2), RSI.at(128))),
          of("vfmadd231ps zmm0, zmm2, dword ptr [r10+8]{1to16}", a -> a.vfmadd231ps(zmm(0), zmm(2), R10.at(8).all())),
          of("vdpbf16ps zmm21, zmm2, zmm29", a -> a.vdpbf16ps(zmm(21), zmm(2), zmm(29))),
          of("vdpbf16ps zmm3{k1}, zmm24, [rsi+rdx*4+64]", a -> a.vdpbf16ps(zmm(3).keep(1), zmm(24), RSI.at(RDX, 4, 64))),
          of("vcvtneps2bf16 ymm8, zmm25", a -> a.vcvtneps2bf16(zmm(8), zmm(25))),
          of("vcvtne2ps2bf16 zmm8, zmm26, zmm8", a -> a.vcvtne2ps2bf16(zmm(8), zmm(26), zmm(8))),
          of("vpdpbusd zmm24, zmm16, zmm25", a -> a.vpdpbusd(zmm(24), zmm(16), zmm(25))),
          of("{evex} vpdpbusd xmm1, xmm2, [rsi+16]", a -> a.vpdpbusd(xmm(1), xmm(2), RSI.at(16))),
          of("vfmadd213ps zmm4, zmm5, zmm6", a -> a.vfmadd213ps(zmm(4), zmm(5), zmm(6))),
          of("vfmadd213ps zmm4, zmm5, dword ptr [rdi+36]{1to16}", a -> a.vfmadd213ps(zmm(4), zmm(5), RDI.at(36).all())),
          of("vfnmadd231ps zmm4, zmm5, zmm6", a -> a.vfnmadd231ps(zmm(4), zmm(5), zmm(6))),
          of("vfmsub231ps zmm16, zmm28, zmm3", a -> a.vfmsub231ps(zmm(16), zmm(28), zmm(3))),
          of("vfmsub231ps zmm16, zmm28, dword ptr [rdi+260]{1to16}", a -> a.vfmsub231ps(zmm(16), zmm(28), RDI.at(260).all())),
          of("vcmpps k2, zmm4, zmm5, 1", a -> a.vcmpps(2, zmm(4), zmm(5), 1)),
          of("vaddpd zmm1, zmm2, zmm23", a -> a.vaddpd(zmm(1), zmm(2), zmm(23))),
          of("vsubpd zmm1, zmm22, zmm3", a -> a.vsubpd(zmm(1), zmm(22), zmm(3))),
          of("vmulpd zmm17, zmm2, zmm3", a -> a.vmulpd(zmm(17), zmm(2), zmm(3))),
          of("vfmadd213pd zmm4, zmm5, zmm26", a -> a.vfmadd213pd(zmm(4), zmm(5), zmm(26))),
          of("vfmadd231pd zmm4, zmm25, zmm6", a -> a.vfmadd231pd(zmm(4), zmm(25), zmm(6))),
          of("vgetexppd zmm4, zmm25", a -> a.vgetexppd(zmm(4), zmm(25))),
          of("vgetmantpd zmm24, zmm5, 7", a -> a.vgetmantpd(zmm(24), zmm(5), 7)),
          of("{evex} vdivpd xmm1, xmm2, xmm3", a -> a.vdivpd(xmm(1), xmm(2), xmm(3))),
          of("{evex} vsqrtpd xmm1, xmm2", a -> a.vsqrtpd(xmm(1), xmm(2))),
          of("vscalefps zmm1, zmm2, zmm3", a -> a.vscalefps(zmm(1), zmm(2), zmm(3))),
          of("vpaddd zmm1, zmm22, zmm3", a -> a.vpaddd(zmm(1), zmm(22), zmm(3))),
          of("vpaddd zmm1, zmm2, dword ptr [rdi+4]{1to16}", a -> a.vpaddd(zmm(1), zmm(2), RDI.at(4).all())),
          of("{evex} vpmulld xmm1, xmm2, xmm3", a -> a.vpmulld(xmm(1), xmm(2), xmm(3))),
          of("vpmaxsd zmm1, zmm22, zmm3", a -> a.vpmaxsd(zmm(1), zmm(22), zmm(3))),
          of("vpaddq zmm1, zmm2, zmm3", a -> a.vpaddq(zmm(1), zmm(2), zmm(3))),
          of("vpmullq zmm1, zmm2, zmm3", a -> a.vpmullq(zmm(1), zmm(2), zmm(3))),
          of("vpandd zmm1, zmm2, zmm3", a -> a.vpandd(zmm(1), zmm(2), zmm(3))),
          of("vpandd zmm1, zmm2, [rsi]", a -> a.vpandd(zmm(1), zmm(2), RSI.at(0))),
          of("vpord zmm1, zmm2, zmm3", a -> a.vpord(zmm(1), zmm(2), zmm(3))),
          of("vpord zmm1, zmm2, [rsi+64]", a -> a.vpord(zmm(1), zmm(2), RSI.at(64))),
          of("vpxord zmm1, zmm1, zmm1", a -> a.vpxord(zmm(1), zmm(1), zmm(1))),
          of("vpxord zmm1, zmm2, dword ptr [rsi+4]{1to16}", a -> a.vpxord(zmm(1), zmm(2), RSI.at(4).all())),
          of("vpternlogd zmm1, zmm2, zmm3, 0xca", a -> a.vpternlogd(zmm(1), zmm(2), zmm(3), 0xca)),
          of("vpslld zmm1, zmm18, 16", a -> a.vpslld(zmm(1), zmm(18), 16)),
          of("vpsrld zmm20, zmm2, 4", a -> a.vpsrld(zmm(20), zmm(2), 4)),
          of("vpsrlq zmm1, zmm2, 30", a -> a.vpsrlq(zmm(1), zmm(2), 30)),
          of("vpsrlvd zmm1, zmm2, zmm3", a -> a.vpsrlvd(zmm(1), zmm(2), zmm(3))),
          of("vpcmpud k1, zmm2, zmm3, 5", a -> a.vpcmpud(1, zmm(2), zmm(3), 5)),
          of("vpmovzxwd zmm1, [rsi+32]", a -> a.vpmovzxwd(zmm(1), RSI.at(32))),
          of("vpmovzxwd zmm1{k1}{z}, [rsi+2]", a -> a.vpmovzxwd(zmm(1).zero(1), RSI.at(2))),
          of("vpmovzxwd zmm1, ymm2", a -> a.vpmovzxwd(zmm(1), ymm(2))),
          of("vpmovzxbd zmm1, [rsi+16]", a -> a.vpmovzxbd(zmm(1), RSI.at(16))),
          of("vpmovzxbd zmm1, xmm2", a -> a.vpmovzxbd(zmm(1), xmm(2))),
          of("vpmovsxbd zmm1, [rsi+16]", a -> a.vpmovsxbd(zmm(1), RSI.at(16))),
          of("vpmovsxbd zmm1, xmm2", a -> a.vpmovsxbd(zmm(1), xmm(2))),
          of("vpmovdw [rsi+32]{k1}, zmm2", a -> a.vpmovdw(RSI.at(32), zmm(2).keep(1))),
          of("vpmovdb [rsi+16], zmm2", a -> a.vpmovdb(RSI.at(16), zmm(2))),
          of("vcvtph2ps zmm1, [rsi+32]", a -> a.vcvtph2ps(zmm(1), RSI.at(32))),
          of("vcvtph2ps zmm1, ymm2", a -> a.vcvtph2ps(zmm(1), ymm(2))),
          of("vcvtdq2ps zmm1, zmm2", a -> a.vcvtdq2ps(zmm(1), zmm(2))),
          of("vcvtps2dq zmm1, zmm22", a -> a.vcvtps2dq(zmm(1), zmm(22))),
          of("vcvtps2pd zmm1, [rsi+32]", a -> a.vcvtps2pd(zmm(1), RSI.at(32))),
          of("{evex} vcvtps2pd xmm1, xmm2", a -> a.vcvtps2pd(xmm(1), xmm(2))),
          of("{evex} vcvtpd2ps xmm1, xmm2", a -> a.vcvtpd2ps(xmm(1), xmm(2))),
          of("{evex} vmovd r9d, xmm3", a -> a.vmovd(R9, xmm(3))),
          of("vunpcklps zmm1, zmm2, zmm23", a -> a.vunpcklps(zmm(1), zmm(2), zmm(23))),
          of("vunpckhps zmm1, zmm2, zmm3", a -> a.vunpckhps(zmm(1), zmm(2), zmm(3))),
          of("vunpcklpd zmm1, zmm2, zmm3", a -> a.vunpcklpd(zmm(1), zmm(2), zmm(3))),
          of("vunpckhpd zmm1, zmm2, zmm3", a -> a.vunpckhpd(zmm(1), zmm(2), zmm(3))),
          of("vshuff32x4 zmm1, zmm2, zmm3, 0x88", a -> a.vshuff32x4(zmm(1), zmm(2), zmm(3), 0x88)),
          of("vshufps zmm1, zmm2, zmm3, 0x44", a -> a.vshufps(zmm(1), zmm(2), zmm(3), 0x44)),
          of("vpermps zmm1, zmm2, zmm3", a -> a.vpermps(zmm(1), zmm(2), zmm(3))),
          of("vpermps zmm1, zmm2, [rdi+64]", a -> a.vpermps(zmm(1), zmm(2), RDI.at(64))),
          of("vpermi2ps zmm1, zmm2, zmm3", a -> a.vpermi2ps(zmm(1), zmm(2), zmm(3))),
          of("vpermt2ps zmm1, zmm2, zmm3", a -> a.vpermt2ps(zmm(1), zmm(2), zmm(3))),
          of("vinsertf64x4 zmm1, zmm22, ymm3, 1", a -> a.vinsertf64x4(zmm(1), zmm(22), ymm(3), 1)),
          of("vextractf32x4 xmm1, zmm2, 3", a -> a.vextractf32x4(xmm(1), zmm(2), 3)),
          of("vextractf64x4 ymm17, zmm2, 1", a -> a.vextractf64x4(ymm(17), zmm(2), 1)),
          of("vextractf64x4 [rsi+32], zmm2, 1", a -> a.vextractf64x4(RSI.at(32), zmm(2), 1)),
          of("vzeroupper", Assembler::vzeroupper),
          of("ldtilecfg [rdi]", a -> a.ldtilecfg(RDI.at(0))),
          of("ldtilecfg [r9+64]", a -> a.ldtilecfg(R9.at(64))),
          of("tilerelease", Assembler::tilerelease),
          of("tilezero tmm3", a -> a.tilezero(3)),
          of("tileloadd tmm4, [rsi+rax*1+1024]", a -> a.tileloadd(4, RSI.at(RAX, 1, 1024))),
          of("tileloaddt1 tmm5, [r8+r9*1]", a -> a.tileloaddt1(5, R8.at(R9, 1, 0))),
          of("tilestored [r11+rax*1+64], tmm2", a -> a.tilestored(R11.at(RAX, 1, 64), 2)),
          of("tdpbf16ps tmm1, tmm4, tmm7", a -> a.tdpbf16ps(1, 4, 7)));

  private static String record(List<Case> cases) {
    return cases.stream()
        .map(
            c -> {
              var a = new Assembler();
              c.code.accept(a);
              return HexFormat.of().formatHex(a.bytes()) + "  " + c.text + "\n";
            })
        .collect(Collectors.joining());
  }

  private static String recorded() throws IOException {
    try (var in = AssemblerTest.class.getResourceAsStream("assembler.txt")) {
      return new String(in.readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    }
  }

  @Test
  void everyInstructionHasTheRecordedBytes() throws IOException {
    assertThat(record(CASES)).isEqualTo(recorded());
  }

  @Test
  void theGnuAssemblerWritesTheSameBytes(@TempDir Path folder) throws Exception {
    assumeTrue(installed("as") && installed("objdump"), "needs the GNU assembler");
    var source = folder.resolve("all.s");
    Files.writeString(source, ".intel_syntax noprefix\n" + CASES.stream().map(c -> c.text + "\n").collect(Collectors.joining()));
    run("as", "-o", folder.resolve("all.o").toString(), source.toString());
    run("objcopy", "-O", "binary", "-j", ".text", folder.resolve("all.o").toString(), folder.resolve("all.bin").toString());
    var all = new Assembler();
    for (var c : CASES) c.code.accept(all);
    assertThat(HexFormat.of().formatHex(all.bytes())).isEqualTo(HexFormat.of().formatHex(Files.readAllBytes(folder.resolve("all.bin"))));
  }

  @Test
  void everyPublicInstructionIsAmongTheCases() {
    var covered = CASES.stream().map(c -> c.text.replace("{evex} ", "").split("[ ,]")[0]).map(AssemblerTest::method).collect(Collectors.toSet());
    var elsewhere = java.util.Set.of("bytes", "here", "bind", "jmp", "j", "mov32", "movzx8", "movzx16");
    for (var m : Assembler.class.getDeclaredMethods()) {
      if (java.lang.reflect.Modifier.isPublic(m.getModifiers()) && !elsewhere.contains(m.getName())) {
        assertThat(covered).as(m.getName()).contains(m.getName());
      }
    }
  }

  private static String method(String instruction) {
    return instruction.startsWith("cmov") ? "cmov" : instruction.equals("movabs") ? "mov" : instruction;
  }

  @Test
  void jumpsReachLabelsBeforeAndBehindThem() throws Throwable {
    assumeTrue(MachineCode.allowed(), "needs Linux on x86-64");
    var a = new Assembler(); // the sum 1 + … + n
    var done = new Label();
    a.mov(RAX, 0);
    var loop = a.here();
    a.test(RDI, RDI);
    a.j(Condition.EQUAL, done);
    a.add(RAX, RDI);
    a.dec(RDI);
    a.jmp(loop);
    a.bind(done);
    a.ret();
    assertThat((long) MachineCode.function(a, 1).invokeExact(100L)).isEqualTo(5050);
  }

  @Test
  void featuresAreThoseTheKernelLists() throws IOException {
    var info = Path.of("/proc/cpuinfo");
    assumeTrue(MachineCode.allowed() && Files.exists(info), "needs Linux on x86-64");
    var flags = List.of(Files.readAllLines(info).stream().filter(l -> l.startsWith("flags")).findFirst().orElse("").split(" "));
    var here = CpuFeatures.here();
    assertThat(here.avx512()).isEqualTo(flags.containsAll(List.of("avx512f", "avx512bw", "avx512dq", "avx512vl")));
    assertThat(here.vnni()).isEqualTo(flags.contains("avx512_vnni"));
    assertThat(here.bf16()).isEqualTo(flags.contains("avx512_bf16"));
    assertThat(here.amx()).isEqualTo(flags.containsAll(List.of("amx_tile", "amx_bf16", "amx_int8")));
  }

  private static boolean installed(String program) {
    try {
      return new ProcessBuilder(program, "--version").redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD).start().waitFor() == 0;
    } catch (IOException | InterruptedException missing) {
      return false;
    }
  }

  private static void run(String... command) throws IOException, InterruptedException {
    var process = new ProcessBuilder(command).redirectErrorStream(true).start();
    var said = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
    assertThat(process.waitFor()).as(said).isZero();
  }

  /// Prints the record.
  public static void main(String[] args) {
    System.out.print(record(CASES));
  }
}

package org.llmcore.cuda;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;

import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUdeviceptr;
import jcuda.driver.JCudaDriver;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

import org.llmcore.op.Move;
import org.llmcore.tensor.DType;
import org.llmcore.tensor.Shape;

import static org.assertj.core.api.Assertions.assertThat;

/// Our binding and JCuda's, over one driver in one process: they see the same machine, share the primary context, and one reads
/// what the other wrote.
class JCudaTest {
  @TempDir private Path folder;
  private HostCuda host;

  @BeforeEach
  void open() throws Exception {
    host = HostCuda.open();
    host.shuffle(1);
    host.library(); // loaded before JCuda's library, which asks for libcuda.so.1 and takes the one that is there
    // JCuda unpacks its library under a fixed name in java.io.tmpdir and loads whatever lies there: a folder nobody else can write to.
    var own = Files.createTempDirectory(folder, "jcuda", PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
    var old = System.setProperty("java.io.tmpdir", own.toString());
    try {
      JCudaDriver.setExceptionsEnabled(true);
    } finally {
      System.setProperty("java.io.tmpdir", old);
    }
  }

  @Test
  void seesTheSameMachine() {
    var ours = host.library();
    JCudaDriver.cuInit(0);
    var number = new int[1];
    JCudaDriver.cuDriverGetVersion(number);
    assertThat(ours.version()).isEqualTo(number[0]);
    JCudaDriver.cuDeviceGetCount(number);
    assertThat(ours.devices()).isEqualTo(number[0]);
    var device = new CUdevice();
    JCudaDriver.cuDeviceGet(device, 0);
    var name = new byte[256];
    JCudaDriver.cuDeviceGetName(name, name.length, device);
    int handle = ours.device(0);
    assertThat(new String(name, java.nio.charset.StandardCharsets.UTF_8).trim()).isEqualTo(ours.name(handle));
    JCudaDriver.cuDeviceGetAttribute(number, jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
    assertThat(ours.multiprocessors(handle)).isEqualTo(number[0]);
    var bytes = new long[1];
    JCudaDriver.cuDeviceTotalMem(bytes, device);
    assertThat(ours.memory(handle)).isEqualTo(bytes[0]);
  }

  @Test
  void readsWhatOurKernelsWroteInTheSharedContext() {
    try (var device = host.device(); var region = device.growing("shared")) {
      var t = region.carve(DType.F32, Shape.of(100));
      device.run(new Move.Fill(t, 2.5f));
      device.synchronize();
      JCudaDriver.cuInit(0);
      var gpu = new CUdevice();
      JCudaDriver.cuDeviceGet(gpu, 0);
      var context = new CUcontext();
      JCudaDriver.cuDevicePrimaryCtxRetain(context, gpu);
      JCudaDriver.cuCtxSetCurrent(context);
      var values = new float[100];
      JCudaDriver.cuMemcpyDtoH(jcuda.Pointer.to(values), new CUdeviceptr().withByteOffset(t.address()), 400);
      assertThat(values).containsOnly(2.5f);
      JCudaDriver.cuDevicePrimaryCtxRelease(gpu);
    }
  }
}

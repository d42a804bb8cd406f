package org.llmcore.cuda;

import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

import org.llmcore.InvalidInput;
import org.llmcore.flags.Flags;
import org.llmcore.op.Device;
import org.llmcore.op.DeviceProvider;

/// `cuda`, found by `ServiceLoader`.
public final class CudaProvider implements DeviceProvider {
  @Override
  public String name() {
    return "cuda";
  }

  @Override
  public Device open() {
    try {
      return new CudaDevice(Driver.open(Optional.empty()), Images.inTheJar(), Flags.debug() > 0, Flags.cudaBlas()).attention(Flags.cudaAttention());
    } catch (CudaException e) {
      throw new InvalidInput("the GPU cannot be used: " + e.getMessage(), "does another program hold it (nvidia-smi)? Else use --device cpu");
    }
  }

  @Override
  public Map<String, String> describe() {
    var out = new LinkedHashMap<String, String>();
    try {
      var driver = Driver.open(Optional.empty());
      out.put("driver", "runs CUDA " + CudaDevice.version(driver.version()));
      for (int i = 0; i < driver.devices(); i++) {
        int device = driver.device(i);
        out.put("gpu " + i,
            String.format(Locale.ROOT, "%s, compute capability %s, %d multiprocessors, %,d bytes", driver.name(device),
                CudaDevice.capability(driver.capability(device)), driver.multiprocessors(device), driver.memory(device)));
      }
    } catch (InvalidInput | CudaException e) {
      out.put("gpu", e.getMessage());
    }
    out.putAll(Manifest.inTheJar().summary());
    return out;
  }
}

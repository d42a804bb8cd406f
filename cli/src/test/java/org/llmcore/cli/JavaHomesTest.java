package org.llmcore.cli;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

import static org.assertj.core.api.Assertions.assertThat;

class JavaHomesTest {
  @TempDir Path root;
  private Path running;

  private Path home(String at, String release) throws IOException {
    Path home = Files.createDirectories(root.resolve(at));
    Files.createDirectories(home.resolve("bin"));
    Files.writeString(home.resolve("bin/java"), "");
    Files.writeString(home.resolve("release"), release);
    return home;
  }

  private static String release(String version) {
    return "IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"" + version + "\"\nMODULES=\"java.base jdk.incubator.vector java.sql\"\n";
  }

  private File find(Map<String, String> environment) {
    return new JavaHomes(environment, root.toFile(), root.resolve("me").toFile(), root.resolve("jar").toFile(), running.toFile()).find(25);
  }

  @BeforeEach
  void theLauncherRunsOnJava17() throws IOException {
    running = home("running", release("17.0.15"));
  }

  @Test
  void withoutASuitableJavaThereIsNone() throws IOException {
    home("usr/lib/jvm/java-17", release("17.0.1"));
    assertThat(find(Map.of())).isNull();
  }

  @Test
  void theRunningJavaIsTakenIfItWillDo() throws IOException {
    running = home("running", release("26-ea"));
    Path named = home("named", release("25"));
    assertThat(find(Map.of("JAVA_HOME", named.toString()))).isEqualTo(running.toFile());
  }

  @Test
  void javaHomeIsTakenOnlyIfItIsNewEnough() throws IOException {
    Path old = home("old", release("21.0.2"));
    Path young = home("young", release("25.0.3"));
    assertThat(find(Map.of("JAVA_HOME", old.toString()))).isNull();
    assertThat(find(Map.of("JAVA_HOME", young.toString()))).isEqualTo(young.toFile());
    assertThat(find(Map.of("JAVA_HOME", old.toString(), "JAVA_HOME_25_X64", young.toString()))).isEqualTo(young.toFile());
  }

  @ParameterizedTest
  @ValueSource(strings = {
    "usr/lib/jvm/temurin-25", "opt/jdk-25", "Library/Java/JavaVirtualMachines/temurin-25.jdk/Contents/Home", "opt/homebrew/opt/openjdk@25/libexec/openjdk.jdk/Contents/Home",
    "me/.sdkman/candidates/java/25-tem", "me/.jdks/temurin-25", "me/.gradle/jdks/x", "opt/hostedtoolcache/Java_Temurin/25.0.3/x64", "me/scoop/apps/temurin/current", "jar/runtime"
  })
  void theUsualFoldersAreSearched(String at) throws IOException {
    Path home = home(at, release("25.0.1"));
    assertThat(find(Map.of())).isEqualTo(home.toFile());
  }

  @Test
  void theFoldersOfWindowsAreFoundByItsVariables() throws IOException {
    Path home = home("Program Files/Eclipse Adoptium/jdk-25.0.3.9-hotspot", release("25.0.3"));
    Path java = Files.move(home.resolve("bin/java"), home.resolve("bin/java.exe"));
    assertThat(find(Map.of("ProgramFiles", root.resolve("Program Files").toString()))).isEqualTo(home.toFile());
    assertThat(JavaHomes.java(home.toFile())).isEqualTo(java.toFile());
  }

  @Test
  void aLinkOnThePathLeadsHome() throws IOException {
    Path home = home("somewhere/jdk", release("25"));
    Path bin = Files.createDirectories(root.resolve("bin"));
    Files.createSymbolicLink(bin.resolve("java"), home.resolve("bin/java"));
    assertThat(find(Map.of("PATH", root.resolve("none") + File.pathSeparator + bin)).getCanonicalFile()).isEqualTo(home.toFile().getCanonicalFile());
  }

  @Test
  void mavensToolchainsAreRead() throws IOException {
    Path home = home("hidden/jdk", release("25"));
    Files.createDirectories(root.resolve("me/.m2"));
    Files.writeString(root.resolve("me/.m2/toolchains.xml"), "<toolchains>\n  <jdkHome>/none</jdkHome>\n  <jdkHome> " + home + " </jdkHome>\n</toolchains>");
    assertThat(find(Map.of())).isEqualTo(home.toFile());
  }

  @Test
  void theOldestSuitableInstallationIsPreferred() throws IOException {
    home("usr/lib/jvm/a-27", release("27"));
    Path home = home("usr/lib/jvm/b-25", release("25.0.2"));
    home("usr/lib/jvm/c-26", release("26.0.1"));
    assertThat(find(Map.of())).isEqualTo(home.toFile());
  }

  @Test
  void aRuntimeWithoutTheVectorModuleWillNotDo() throws IOException {
    home("usr/lib/jvm/cut", "JAVA_VERSION=\"25\"\nMODULES=\"java.base\"\n");
    assertThat(find(Map.of())).isNull();
    Path whole = home("usr/lib/jvm/unsaid", "JAVA_VERSION=\"25\"\n");
    assertThat(find(Map.of())).isEqualTo(whole.toFile());
  }

  @ParameterizedTest
  @CsvSource({"25.0.3, 25", "25, 25", "26-ea, 26", "1.8.0_412, 8", "nonsense, 0", "99999999999, 999999"})
  void versionsAreReadFromTheReleaseFile(String text, int version) throws IOException {
    assertThat(JavaHomes.version(home("v", "JAVA_VERSION=\"" + text + "\"\n").toFile())).isEqualTo(version);
  }
}

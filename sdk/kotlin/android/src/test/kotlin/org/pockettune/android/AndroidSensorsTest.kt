package org.pockettune.android

import android.app.ActivityManager
import android.app.Application
import android.content.Context
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.PowerManager
import org.junit.Test
import org.junit.runner.RunWith
import org.pockettune.Thermal
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowNetworkCapabilities
import org.robolectric.shadows.ShadowStatFs
import java.nio.file.Path
import kotlin.test.assertEquals
import kotlin.test.assertNull

@RunWith(RobolectricTestRunner::class)
@Config(sdk = [34, 35], manifest = Config.NONE)
class AndroidSensorsTest {
    private val app: Application = RuntimeEnvironment.getApplication()
    private val sensors = AndroidSensors(app)
    private val battery = shadowOf(app.getSystemService(BatteryManager::class.java))
    private val power = shadowOf(app.getSystemService(PowerManager::class.java))
    private val network = checkNotNull(app.getSystemService(ConnectivityManager::class.java))

    @Test
    fun `charge follows the charger and the battery`() {
        battery.setIsCharging(true)
        battery.setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, 83)
        assertEquals(true to 83, sensors.read().run { charging to batteryPercent })
        battery.setIsCharging(false)
        battery.setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, 0)
        assertEquals(false to 0, sensors.read().run { charging to batteryPercent })
    }

    @Test
    fun `a battery without a gauge is unknown`() {
        battery.setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, Int.MIN_VALUE)
        assertNull(sensors.read().batteryPercent)
    }

    @Test
    fun `heat has a level for each of Android's`() {
        val levels =
            (PowerManager.THERMAL_STATUS_NONE..PowerManager.THERMAL_STATUS_SHUTDOWN).map {
                power.setCurrentThermalStatus(it)
                sensors.read().thermal
            }
        assertEquals(Thermal.entries.toList(), levels)
    }

    @Test
    fun `the phone is idle when its screen is off`() {
        power.turnScreenOn(true)
        assertEquals(false, sensors.read().idle)
        power.turnScreenOn(false)
        assertEquals(true, sensors.read().idle)
    }

    @Test
    fun `power save is read`() {
        for (saving in listOf(true, false)) {
            power.setIsPowerSaveMode(saving)
            assertEquals(saving, sensors.read().powerSave)
        }
    }

    @Test
    fun `a network is unmetered when it says so`() {
        val capabilities = ShadowNetworkCapabilities.newInstance()
        shadowOf(network).setNetworkCapabilities(network.activeNetwork, capabilities)
        assertEquals(false, sensors.read().unmetered)
        shadowOf(capabilities).addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        assertEquals(true, sensors.read().unmetered)
    }

    @Test
    fun `no network is not an unmetered one`() {
        shadowOf(network).setDefaultNetworkActive(false)
        shadowOf(network).setActiveNetworkInfo(null)
        assertEquals(false, sensors.read().unmetered)
    }

    @Test
    fun `a network without capabilities is unknown`() {
        shadowOf(network).setNetworkCapabilities(network.activeNetwork, null)
        assertNull(sensors.read().unmetered)
    }

    @Test
    fun `memory below Android's own threshold is not there to be taken`() {
        val manager = shadowOf(app.getSystemService(Context.ACTIVITY_SERVICE) as ActivityManager)

        fun available(
            free: Long,
            low: Long,
            isLow: Boolean = false,
        ): Long? {
            manager.setMemoryInfo(
                ActivityManager.MemoryInfo().apply {
                    availMem = free
                    threshold = low
                    lowMemory = isLow
                },
            )
            return sensors.read().availableMemoryBytes
        }
        assertEquals(900, available(1_000, 100))
        assertEquals(0, available(50, 100))
        assertEquals(0, available(1_000, 100, isLow = true))
    }

    @Test
    fun `free storage is what an app may write`() {
        ShadowStatFs.registerStats(app.filesDir, 100, 20, 10)
        assertEquals(10L * ShadowStatFs.BLOCK_SIZE, sensors.read().freeStorageBytes)
    }

    @Test
    fun `a sensor that fails is unknown and spoils no other`() {
        val broken =
            object : android.content.ContextWrapper(app) {
                override fun getApplicationContext(): Context = this

                override fun getSystemService(name: String): Any? =
                    when (name) {
                        POWER_SERVICE -> throw SecurityException("no permission")
                        CONNECTIVITY_SERVICE -> null
                        else -> super.getSystemService(name)
                    }
            }
        battery.setIsCharging(true)
        val state = AndroidSensors(broken, Path.of("/nowhere")).read()
        assertEquals(listOf(null, null, null, null), state.run { listOf(thermal, idle, powerSave, unmetered) })
        assertEquals(true, state.charging)
    }
}

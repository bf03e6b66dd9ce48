package org.pockettune.android

import android.app.ActivityManager
import android.content.Context
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Build
import android.os.PowerManager
import org.pockettune.DeviceState
import org.pockettune.Sensors
import org.pockettune.Store
import org.pockettune.Thermal

/**
 * What an Android phone measures.
 *
 * Before Android 10 it does not tell how hot it is: ask for no `maximumThermal` there, or nothing ever starts. Whether the
 * network is metered is told to apps that hold `ACCESS_NETWORK_STATE`.
 *
 * @param context any context of the app.
 * @param store where free storage is measured.
 */
public class AndroidSensors(
    context: Context,
    private val store: Store,
) : Sensors {
    private val battery = context.getSystemService(BatteryManager::class.java)
    private val power = context.getSystemService(PowerManager::class.java)
    private val network = context.getSystemService(ConnectivityManager::class.java)
    private val memory = context.getSystemService(ActivityManager::class.java)

    override fun read(): DeviceState =
        DeviceState(
            charging = battery?.isCharging,
            batteryPercent = batteryPercent(),
            thermal = thermal(),
            idle = power?.isInteractive?.not(),
            unmetered = unmetered(),
            powerSave = power?.isPowerSaveMode,
            freeStorageBytes = store.root.toFile().usableSpace,
            availableMemoryBytes = availableMemory(),
        )

    private fun batteryPercent(): Int? = battery?.getIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY)?.takeIf { it in 0..100 }

    private fun thermal(): Thermal? {
        if (Build.VERSION.SDK_INT < Build.VERSION_CODES.Q) return null
        return when (power?.currentThermalStatus) {
            PowerManager.THERMAL_STATUS_NONE -> Thermal.NOMINAL
            PowerManager.THERMAL_STATUS_LIGHT -> Thermal.LIGHT
            PowerManager.THERMAL_STATUS_MODERATE -> Thermal.MODERATE
            PowerManager.THERMAL_STATUS_SEVERE -> Thermal.SEVERE
            PowerManager.THERMAL_STATUS_CRITICAL -> Thermal.CRITICAL
            PowerManager.THERMAL_STATUS_EMERGENCY -> Thermal.EMERGENCY
            PowerManager.THERMAL_STATUS_SHUTDOWN -> Thermal.SHUTDOWN
            else -> null
        }
    }

    private fun unmetered(): Boolean? =
        try {
            val capabilities = network?.activeNetwork?.let(network::getNetworkCapabilities)
            capabilities?.hasCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        } catch (_: SecurityException) {
            null
        }

    /** What is there before the system begins to end apps. */
    private fun availableMemory(): Long? {
        val info = ActivityManager.MemoryInfo()
        memory?.getMemoryInfo(info) ?: return null
        return if (info.lowMemory) 0 else maxOf(0, info.availMem - info.threshold)
    }
}
